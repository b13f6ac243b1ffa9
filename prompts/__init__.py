"""The prompts of the roles: one Markdown file each, and packs (subfolders) that replace some of them."""
