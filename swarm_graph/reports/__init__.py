"""Reports: sessions in the terminal, in notebooks, as tables and as HTML pages."""
