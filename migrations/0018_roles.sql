-- Roles that an org makes for itself, beside the built-in ones of policies/roles.csv. Members hold roles by name.

create table roles (
    org_id uuid not null references orgs,
    id uuid not null,
    name text not null check (name ~ '^[a-z][a-z0-9_-]{0,39}$'),
    description text not null default '',
    -- Names of built-in or custom roles.
    inherits text[] not null default '{}',
    -- `resource:action`
    permissions text[] not null default '{}',
    denied text[] not null default '{}',
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (org_id, id),
    constraint roles_name_taken unique (org_id, name)
);
create index roles_created_at on roles (org_id, created_at, id);
create index roles_name on roles (org_id, name collate "C", id);
select tenant_table('roles');
