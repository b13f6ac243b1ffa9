import pytest
from readings import summarize

HEADER = "time,tag,value,quality\n"


def test_a_tag():
    found = summarize(HEADER + "08:00,FI-100,1.5,GOOD\n08:01,FI-100,2.5,GOOD\n08:02,FI-100,5,good\n")
    assert found == {"FI-100": {"count": 3, "min": 1.5, "max": 5.0, "mean": pytest.approx(3.0)}}


def test_bad_readings_are_left_out():
    rows = "1,A,7,BAD\n2,A,,GOOD\n3,A,n/a,GOOD\n4,A,nan,GOOD\n5,A,inf,GOOD\n6,A,-2,GOOD\n7,B,3,BAD\n"
    assert summarize(HEADER + rows) == {"A": {"count": 1, "min": -2.0, "max": -2.0, "mean": -2.0}}


def test_the_order_of_the_tags():
    rows = "1,Z,1,BAD\n1,M,1,GOOD\n1,A,1,GOOD\n2,Z,1,GOOD\n"
    assert list(summarize(HEADER + rows)) == ["M", "A", "Z"]


def test_columns_in_another_order():
    text = "unit,quality,value,tag,time\nbar,GOOD,4,PI-7,1\n"
    assert summarize(text)["PI-7"]["mean"] == 4


def test_quoted_cells():
    text = 'time,tag,value,quality,remark\n1,"TI-1, inlet",20,GOOD,"a ""hot"" day,\nreally"\n2,"TI-1, inlet",30,GOOD,\n'
    assert summarize(text) == {"TI-1, inlet": {"count": 2, "min": 20.0, "max": 30.0, "mean": 25.0}}


def test_blanks_and_empty_lines():
    text = "time,tag,value,quality\n\n1, A , 2 , GOOD \n\n2,A,4,Good\n\n"
    assert summarize(text) == {"A": {"count": 2, "min": 2.0, "max": 4.0, "mean": 3.0}}


def test_the_later_line_of_a_time_counts():
    rows = "1,A,10,GOOD\n2,A,20,GOOD\n1,A,30,GOOD\n2,A,20,BAD\n1,B,5,GOOD\n"
    found = summarize(HEADER + rows)
    assert found["A"] == {"count": 1, "min": 30.0, "max": 30.0, "mean": 30.0}
    assert found["B"]["count"] == 1


@pytest.mark.parametrize("column", ["time", "tag", "value", "quality"])
def test_a_missing_column(column):
    header = ",".join(name for name in ("time", "tag", "value", "quality") if name != column)
    with pytest.raises(ValueError, match=column):
        summarize(header + "\n1,2,3\n")


def test_no_reading():
    assert summarize(HEADER) == {}
