-- Hosts that an authority of the site vouches for are known besides those that are paired.
ALTER TABLE peers ADD COLUMN kind TEXT NOT NULL DEFAULT 'paired';
