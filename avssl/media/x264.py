"""Options under which x264 writes the same bytes whenever it is given the same pictures."""

# One thread, and no macroblock tree: its AVX-512 code (x264 of PyAV 18.1) reads memory that nothing was written to, so
# that one encoding in ten differed from the others, and it takes reciprocals that differ between makers of processors.
# At the same rate factor, files are larger without it, and pictures closer to their source.
SAME_BYTES = {"threads": "1", "mbtree": "0"}
