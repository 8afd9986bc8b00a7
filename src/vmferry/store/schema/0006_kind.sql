-- What moves, and how (core/kinds.py).
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'live';
