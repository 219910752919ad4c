-- Tiers that are announced before they hold, taken back, reverted and deleted; their versions stay.

-- What holds from a moment to come: {version, name, policies, entitlements, is_public, effective_at, reason}. Once
-- that moment is past it is what holds: readers go by the clock, and the next writer moves it into its columns.
alter table tiers add column announced jsonb;
-- Grows with whatever changes a tier, announcements too.
alter table tiers add column revision bigint not null default 1;
update tiers set revision = version;
grant delete on tiers to insula_platform;

alter table tier_versions add column id uuid not null default uuid_v7(now());
alter table tier_versions add column is_public boolean not null default true;
alter table tier_versions add column effective_at timestamptz not null default now();
-- Of an announced version that was taken back, or replaced, before it held.
alter table tier_versions add column withdrawn_at timestamptz;
update tier_versions v
set effective_at = v.at, is_public = coalesce((select t.is_public from tiers t where t.slug = v.slug), true);
alter table tier_versions alter column is_public drop default;
alter table tier_versions alter column effective_at drop default;
-- The record outlives the tier.
alter table tier_versions drop constraint tier_versions_slug_fkey;
create unique index tier_versions_id on tier_versions (id);
grant update (withdrawn_at) on tier_versions to insula_platform;

-- The versions that held before one, as far back as `since`, newest first.
create function gate_tier_past(wanted text, before bigint, since timestamptz, how_many bigint)
    returns table (version bigint, policies jsonb, effective_at timestamptz)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select v.version, v.policies, v.effective_at
    from tier_versions v
    where v.slug = wanted and v.version < before and v.withdrawn_at is null and v.effective_at > since
    order by v.version desc limit how_many
$$;

select hang_gates();
