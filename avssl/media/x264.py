"""Options under which x264 writes the same bytes whenever it is given the same pictures."""

# One thread, and no macroblock tree: with its AVX-512 code (x264 of PyAV 18.1), one encoding in ten had other bytes, as
# if it read memory that nothing was written to. At the same rate factor, files are larger without it, and pictures
# closer to their source.
SAME_BYTES = {"threads": "1", "mbtree": "0"}
