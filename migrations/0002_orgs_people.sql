-- Tiers, organisations, people, members, sessions and keys, and the gate through which the app role asks
-- the few questions that come before an org is known.

create table tiers (
    slug text primary key check (slug ~ '^[a-z][a-z0-9_-]{0,39}$'),
    name text not null,
    version bigint not null default 1,
    policies jsonb not null,
    entitlements jsonb not null default '{}',
    -- Public tiers are plans that anybody may read of; the others are the platform's own.
    is_public boolean not null default true,
    effective_at timestamptz not null default now()
);

create table tier_versions (
    slug text not null references tiers,
    version bigint not null,
    name text not null,
    policies jsonb not null,
    entitlements jsonb not null,
    author uuid,
    reason text not null,
    at timestamptz not null default now(),
    primary key (slug, version)
);

insert into tiers (slug, name, policies, is_public) values
    ('free', 'Free', '[
        {"name": "user", "scope": "user", "quota": 120, "window_seconds": 60, "burst": 120},
        {"name": "org", "scope": "org", "quota": 600, "window_seconds": 60, "burst": 600}]', true),
    ('pro', 'Pro', '[
        {"name": "user", "scope": "user", "quota": 1200, "window_seconds": 60, "burst": 600},
        {"name": "org", "scope": "org", "quota": 6000, "window_seconds": 60, "burst": 6000}]', true),
    ('enterprise', 'Enterprise', '[
        {"name": "user", "scope": "user", "quota": 12000, "window_seconds": 60, "burst": 3000},
        {"name": "org", "scope": "org", "quota": 60000, "window_seconds": 60, "burst": 60000}]', true),
    ('sandbox', 'Sandbox', '[
        {"name": "user", "scope": "user", "quota": 120, "window_seconds": 60, "burst": 120},
        {"name": "org", "scope": "org", "quota": 600, "window_seconds": 60, "burst": 600}]', false),
    ('platform', 'Platform operators', '[
        {"name": "user", "scope": "user", "quota": 1200, "window_seconds": 60, "burst": 600}]', false);

insert into tier_versions (slug, version, name, policies, entitlements, reason)
select slug, version, name, policies, entitlements, 'the first version' from tiers;

grant select on tiers to insula_app;
grant select, insert, update on tiers to insula_platform;
grant select, insert on tier_versions to insula_platform;

-- A platform table, though one that each org may read its own row of.
create table orgs (
    id uuid primary key,
    slug text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name text not null check (length(name) between 1 and 200),
    -- Set on a sandbox: the live org whose test keys lead here.
    sandbox_of uuid unique references orgs,
    created_at timestamptz not null default now()
);
alter table orgs enable row level security;
alter table orgs force row level security;
create policy own_org on orgs to insula_app
    using (id = current_setting('app.org_id')::uuid)
    with check (id = current_setting('app.org_id')::uuid);
create policy platform on orgs to insula_platform using (true) with check (true);
grant select, update (name) on orgs to insula_app;
grant select, insert, update on orgs to insula_platform;

-- What every transaction of an org reads as it opens. The app role may raise the policy version only.
create table org_control (
    org_id uuid primary key references orgs,
    status text not null default 'active' check (status in ('active', 'suspended')),
    tier text not null references tiers,
    policy_version bigint not null default 1
);
select tenant_table('org_control');
revoke insert, update, delete on org_control from insula_app;
grant update (policy_version) on org_control to insula_app;
select platform_access('org_control', 'select, insert, update');

-- People and what proves them are global, and never granted to the app role.
create table users (
    id uuid primary key,
    email text not null,
    name text not null,
    email_verified_at timestamptz,
    created_at timestamptz not null default now()
);
create unique index users_email_key on users (lower(email));

create table credentials (
    user_id uuid primary key references users,
    password_hash text not null,
    changed_at timestamptz not null default now()
);
grant select, insert, update on users, credentials to insula_platform;

create table members (
    org_id uuid not null references orgs,
    user_id uuid not null references users,
    -- What an org may see of a person.
    email text not null,
    name text not null,
    roles text[] not null check (cardinality(roles) > 0),
    status text not null default 'active' check (status in ('active', 'suspended')),
    created_at timestamptz not null default now(),
    primary key (org_id, user_id)
);
-- "Which orgs is this person in?" is asked by the gate alone.
create index members_by_user on members (user_id);
select tenant_table('members');
select platform_access('members', 'select, insert, update, delete');

create table sessions (
    id uuid primary key,
    user_id uuid not null references users,
    created_at timestamptz not null,
    -- Nobody stays signed in beyond this, however busy.
    expires_at timestamptz not null,
    revoked_at timestamptz,
    revoked_why text
);
create index sessions_by_user on sessions (user_id);

create table refresh_tokens (
    hash bytea primary key,
    parent bytea,
    session_id uuid not null references sessions,
    org_id uuid not null references orgs,
    issued_at timestamptz not null,
    -- Not used within this: signed out.
    expires_at timestamptz not null,
    used_at timestamptz
);
create index refresh_tokens_by_session on refresh_tokens (session_id);
create index refresh_tokens_by_parent on refresh_tokens (parent);
grant select, insert, update, delete on sessions, refresh_tokens to insula_platform;

create table api_keys (
    org_id uuid not null references orgs,
    id uuid not null,
    name text not null check (length(name) between 1 and 100),
    mode text not null check (mode in ('live', 'test')),
    -- The first letters of the key, to recognise it by.
    prefix text not null,
    scopes text[] not null,
    created_by uuid not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    primary key (org_id, id)
);
create index api_keys_created_at on api_keys (org_id, created_at, id);
select tenant_table('api_keys');
select platform_access('api_keys', 'select');

create table api_key_secrets (
    hash bytea primary key,
    org_id uuid not null,
    key_id uuid not null,
    foreign key (org_id, key_id) references api_keys
);
grant select, insert on api_key_secrets to insula_platform;
