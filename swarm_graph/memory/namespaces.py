"""The namespaces in a LangGraph store that hold what the swarm remembers.

Everything lies below `swarm`, so a user's own items in the same store do not mix with it. Labels of users
(collections) follow LangGraph's rules: no dot, not empty.
"""

from __future__ import annotations

MEMORY = ("swarm", "memory")
"""Below it lies everything that roles may recall; each item is one passage."""
KNOWLEDGE = (*MEMORY, "knowledge")
"""Passages of documents, by collection: `(*KNOWLEDGE, "plant")`."""
EXPERIENCE = (*MEMORY, "experience")
"""What sessions have verified, by kind: `(*EXPERIENCE, "design")`, `"finding"`, `"tests"`."""
DOCUMENTS = ("swarm", "documents")
"""The documents of each collection, an item each: where its file lies, its hash, its number of passages."""
OFFERS = ("swarm", "offers")
"""What sessions have verified and a person has not decided about, by kind; never recalled."""
CANDIDATES = ("swarm", "candidates")
"""Findings that one session alone has had; never recalled."""
REMEMBERED = ("swarm", "remembered")
"""Which requests of sessions are done with, so that a resume remembers nothing twice; never recalled."""

ID_DIGITS = 10
"""The keys of documents and experiences are as many hexadecimal digits; people use them as ids."""
