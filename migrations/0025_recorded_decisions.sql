-- What the limiter decided, for simulations: some thousand decisions a row, in packed columns. Of all orgs, and the
-- platform's alone.

create table recorded_decisions (
    id uuid primary key,
    -- Of its first and its last decision. Batches of several replicas overlap.
    first_at timestamptz not null,
    last_at timestamptz not null,
    decisions integer not null check (decisions > 0),
    bytes integer not null,
    -- Dictionaries of orgs, callers and routes, then a column each of times, callers, routes, and costs with outcomes.
    columns bytea not null
);
-- Packed already: compressing it again costs more than it saves.
alter table recorded_decisions alter column columns set storage external;
create index recorded_decisions_first_at on recorded_decisions (first_at, id) include (last_at, decisions, bytes);
create index recorded_decisions_last_at on recorded_decisions (last_at);
grant select, insert, delete on recorded_decisions to insula_platform;
