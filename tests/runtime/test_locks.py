import subprocess
import sys
import time

import pytest

from avssl.runtime.locks import InUse, only_user

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom avssl.runtime.locks import only_user\n"
    "with only_user(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def test_a_folder_has_one_user_until_that_ends_however_it_ends(tmp_path):
    with only_user(tmp_path / "run"), only_user(tmp_path / "run"):  # nested in one process
        assert (tmp_path / "run").is_dir()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(InUse, match=rf"in use by process {holder.pid} on .* since \d{{4}}-"),
        only_user(tmp_path / "run"),
    ):
        pass
    with only_user(tmp_path / "other"):
        pass
    holder.kill()
    holder.wait()
    began = time.monotonic()
    with only_user(tmp_path / "run"):
        assert time.monotonic() - began < 5
