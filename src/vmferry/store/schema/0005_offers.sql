-- A VM has one job that moves it. What only waits to come here does not keep other hosts from offering a VM of that
-- name: each host has its own place in the line for it.
DROP INDEX jobs_active;
CREATE UNIQUE INDEX jobs_active ON jobs (vm, CASE WHEN role = 'destination' AND state = 'waiting' THEN peer ELSE '' END)
    WHERE ended_at IS NULL;
