"""Store and Ledger on SQLite, each a file of this node; their migrations and the encryption of Secrets."""
