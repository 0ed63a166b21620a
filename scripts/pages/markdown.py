"""What the generated Markdown pages share."""

MADE_BY = "<!-- Made by scripts/generate-docs; edit what it is made from. -->\n"
