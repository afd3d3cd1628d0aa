"""Lists of CPUs, as the kernel writes them."""

import pytest

from obscura.bench.cpus import format_cpus, parse_cpus


def test_a_list_of_cpus_is_read_as_the_kernel_writes_it() -> None:
    assert parse_cpus("0,2-4") == {0, 2, 3, 4}
    assert format_cpus(parse_cpus("3,1-2")) == "1,2,3"
    for wrong in ("", "a", "-1", "3-1"):
        with pytest.raises(ValueError, match="CPU"):
            parse_cpus(wrong)
