-- What each org asks for, by route, key and limit policy; how far the journals of processes are counted; and of which
-- quotas it was told that they are being used up.

create table usage_route_minutes (
    org_id uuid not null references orgs,
    -- Its first moment.
    minute timestamptz not null,
    -- The limit policy that said so, or '' for the requests themselves.
    policy text not null,
    -- The operation's id.
    route text not null,
    -- The nil uuid for people, who come without a key.
    api_key uuid not null,
    -- Let through; of a policy, what fitted it.
    passed bigint not null,
    -- Refused by a limit.
    limited bigint not null,
    -- What a policy in shadow would have refused: of the requests themselves counted besides, among passed and errors.
    shadow bigint not null,
    -- Let through, and answered 5xx; none of a policy.
    errors bigint not null,
    units bigint not null,
    primary key (org_id, minute, policy, route, api_key)
);
select tenant_table('usage_route_minutes');
revoke insert, update, delete on usage_route_minutes from insula_app;
select platform_access('usage_route_minutes', 'select, insert, update, delete');

-- Up to where each journal is counted. Changed in the transaction that adds the counts, so that nothing counts twice; kept
-- longer than any journal, of which one may come back after a power cut.
create table usage_journals (
    id uuid primary key,
    counted bigint not null default 0 check (counted >= 0),
    changed_at timestamptz not null
);
create index usage_journals_changed_at on usage_journals (changed_at);
grant select, insert, update, delete on usage_journals to insula_platform;

-- The parts of quotas that were reached, each once in a window. Another quota under the same name has parts of its own.
create table usage_alerts (
    org_id uuid not null references orgs,
    policy text not null,
    window_start timestamptz not null,
    quota bigint not null,
    percent smallint not null check (percent in (50, 80, 100)),
    -- Whose quota it is: the org's, or a user's or a key's, of whom the first counts.
    scope text not null,
    used bigint not null,
    resets_at timestamptz not null,
    reached_at timestamptz not null,
    -- When whoever listens was told; of a part that was passed together with a higher one, at once.
    told_at timestamptz,
    primary key (org_id, policy, window_start, quota, percent)
);
create index usage_alerts_untold on usage_alerts (reached_at) where told_at is null;
select tenant_table('usage_alerts');
revoke insert, update, delete on usage_alerts from insula_app;
select platform_access('usage_alerts', 'select, insert, update, delete');
