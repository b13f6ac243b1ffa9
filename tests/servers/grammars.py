"""GBNF grammars that make even a random model answer in a role's form, in fewer than 100 tokens.

Send one as `extra_body={"grammar": …}`; a `response_format` beside it goes before it.
"""

FILES_GRAMMAR = r"""
root ::= "```python path=src/tiny.py\n" line{1,4} "```\n"
line ::= name " = " [1-9] [0-9]{0,2} "\n"
name ::= "x" | "y" | "size" | "total"
"""

TESTS_GRAMMAR = r"""
root ::= "```python path=tests/test_tiny.py\n" test "```\n"
test ::= "def test_" name "():\n    assert " [1-9] [0-9]{0,2} " > 0\n"
name ::= "tiny" | "size" | "total"
"""

DOCUMENT_GRAMMAR = r"""
root ::= "# " word "\n\n" line{1,3} "## " word "\n\n" line{1,3}
line ::= word (" " word){2,6} ".\n"
word ::= [a-z]{2,7}
"""

TEXT_GRAMMAR = r"""
root ::= word (" " word){3,11} "."
word ::= [a-z]{2,7}
"""

NO_CHANGE_GRAMMAR = r"""
root ::= "NO CHANGE"
"""
