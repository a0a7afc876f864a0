"""The history of the tables, run by Alembic. A migration is literal: it never imports `tables`."""
