"""What every part needs and no part owns: errors, canonical JSON, time, files, the database."""
