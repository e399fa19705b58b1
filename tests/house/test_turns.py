from turns import by_turns


def test_each_case_once_and_each_server_as_often() -> None:
    tests = [
        *("a.py::one[pg18]", "a.py::one[pg15]", "a.py::two[pg18-x]", "a.py::two[pg18-y]"),
        *("a.py::two[pg15-x]", "a.py::two[pg15-y]", "a.py::three", "a.py::four[pg15-x]"),
        *("b.py::one[pg18-x-1]", "b.py::one[pg15-x-1]"),
    ]
    assert by_turns(tests) == {
        *("a.py::one[pg18]", "a.py::two[pg15-x]", "a.py::two[pg18-y]", "a.py::three"),
        *("a.py::four[pg15-x]", "b.py::one[pg18-x-1]"),
    }
