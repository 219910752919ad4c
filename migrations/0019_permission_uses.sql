-- When a member last made use of a permission, to the hour: what is looked at before one is taken away.

create table permission_uses (
    org_id uuid not null references orgs,
    user_id uuid not null,
    permission text not null,
    -- Written in batches: some seconds behind.
    last_used_at timestamptz not null,
    primary key (org_id, user_id, permission)
);
select tenant_table('permission_uses');
revoke insert, update, delete on permission_uses from insula_app;
select platform_access('permission_uses', 'select, insert, update, delete');
