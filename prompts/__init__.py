"""The words of the roles: Markdown files, and packs that replace some of them."""
