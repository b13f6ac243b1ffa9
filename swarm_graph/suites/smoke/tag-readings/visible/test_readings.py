import pytest
from readings import summarize


def test_summary():
    text = "time,tag,value,quality\n1,LI-5,10,GOOD\n2,LI-5,20,BAD\n3,LI-5,30,GOOD\n"
    assert summarize(text) == {"LI-5": {"count": 2, "min": 10.0, "max": 30.0, "mean": 20.0}}


def test_what_is_no_good_reading():
    text = "time,tag,value,quality\n1,X,NaN,GOOD\n2,X,abc,GOOD\n3,X,,GOOD\n4,X,1,UNCERTAIN\n"
    assert summarize(text) == {}


def test_quotes():
    text = 'time,tag,value,quality\n1,"a,b",2,GOOD\n'
    assert summarize(text)["a,b"]["mean"] == 2


def test_corrections():
    text = "time,tag,value,quality\n1,X,5,GOOD\n1,X,6,GOOD\n"
    assert summarize(text)["X"] == {"count": 1, "min": 6.0, "max": 6.0, "mean": 6.0}


def test_missing_column():
    with pytest.raises(ValueError, match="quality"):
        summarize("time,tag,value\n1,X,2\n")
