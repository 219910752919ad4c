-- Who is in an org: lists of members, invitations, founding, leaving and deleting orgs.

alter table members
    -- What lists page by.
    add column id uuid generated always as (user_id) stored,
    add column version bigint not null default 1;
create index members_created_at on members (org_id, created_at, id);
create index members_name on members (org_id, name collate "C", id);
create index members_email on members (org_id, email collate "C", id);
create index members_status on members (org_id, status, created_at, id);

-- Whether nobody else could answer for the org if this member no longer did.
create function is_last_owner(org uuid, person uuid) returns boolean
    language sql stable
    as $$
    select exists (
        select from members
        where org_id = org and user_id = person and status = 'active' and 'owner' = any (roles)
    ) and not exists (
        select from members
        where org_id = org and user_id <> person and status = 'active' and 'owner' = any (roles)
    )
$$;
grant execute on function is_last_owner to insula_app, insula_platform;

create table invitations (
    org_id uuid not null references orgs,
    id uuid not null,
    -- In lower case.
    email text not null,
    roles text[] not null check (cardinality(roles) > 0),
    -- A pending one past its time has expired.
    status text not null default 'pending' check (status in ('pending', 'accepted', 'revoked')),
    -- None where an API key did.
    invited_by uuid,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    accepted_at timestamptz,
    accepted_by uuid,
    primary key (org_id, id)
);
create unique index invitations_pending on invitations (org_id, email) where status = 'pending';
create index invitations_created_at on invitations (org_id, created_at, id);
create index invitations_status on invitations (org_id, status, created_at, id);
select tenant_table('invitations');
revoke delete on invitations from insula_app;
select platform_access('invitations', 'select, update');

-- What the link in the mail proves; gone once it is of no use.
create table invitation_secrets (
    hash bytea primary key,
    org_id uuid not null,
    invitation_id uuid not null,
    unique (org_id, invitation_id),
    foreign key (org_id, invitation_id) references invitations
);
grant select, insert, delete on invitation_secrets to insula_platform;

-- From here on this secret alone opens an invitation of the org that the calling transaction has set; none where null.
create function gate_set_invitation_secret(invitation uuid, secret_hash bytea)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    org uuid := current_setting('app.org_id');
begin
    delete from invitation_secrets where org_id = org and invitation_id = invitation;
    if secret_hash is not null then
        insert into invitation_secrets (hash, org_id, invitation_id) values (secret_hash, org, invitation);
    end if;
end
$$;

-- The invitation that a secret opens now, and the account that its address has.
create function gate_invitation(secret_hash bytea, at timestamptz)
    returns table (org_id uuid, email text, user_id uuid, user_email text, user_name text, password_hash text)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select i.org_id, i.email, u.id, u.email, u.name, c.password_hash
    from invitation_secrets s
    join invitations i on i.org_id = s.org_id and i.id = s.invitation_id
    join org_control o on o.org_id = i.org_id and o.status = 'active'
    left join users u on lower(u.email) = i.email
    left join credentials c on c.user_id = u.id
    where s.hash = secret_hash and i.status = 'pending' and i.expires_at > at
$$;

-- Makes a person a member with the roles they were invited to, once; with a password, the person too. False where the
-- secret opens nothing (any more), or nothing for them. Whoever is a member already keeps their roles.
create function gate_accept_invitation(secret_hash bytea, person uuid, person_name text, hash text, trail jsonb)
    returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    at timestamptz := trail ->> 'at';
    org uuid;
    invitation invitations;
begin
    select s.org_id into org from invitation_secrets s where s.hash = secret_hash;
    -- A person before their orgs, as in gate_leave, so that neither waits for the other.
    perform 1 from users u where u.id = person for no key update;
    -- Changes of an org's members take turns.
    perform 1 from org_control c where c.org_id = org and c.status = 'active' for no key update;
    if not found then
        return false;
    end if;
    select i.* into invitation
    from invitation_secrets s join invitations i on i.org_id = s.org_id and i.id = s.invitation_id
    where s.hash = secret_hash and i.status = 'pending' and i.expires_at > at;
    if invitation.id is null then
        return false;
    end if;
    if hash is null then
        -- Who has the link reads the address's mail.
        update users u set email_verified_at = coalesce(u.email_verified_at, at)
        where u.id = person and lower(u.email) = invitation.email;
        if not found then
            return false;
        end if;
    else
        insert into users (id, email, name, email_verified_at) values (person, invitation.email, person_name, at);
        insert into credentials (user_id, password_hash, changed_at) values (person, hash, at);
    end if;
    update invitations i set status = 'accepted', accepted_at = at, accepted_by = person
    where i.org_id = org and i.id = invitation.id;
    delete from invitation_secrets s where s.hash = secret_hash;
    perform audit_org(org, 'user', person, 'invitation.accepted', 'invitation', invitation.id::text, null, null, trail);
    insert into members (org_id, user_id, email, name, roles)
    select org, u.id, u.email, u.name, invitation.roles from users u where u.id = person
    on conflict (org_id, user_id) do nothing;
    if found then
        perform audit_org(org, 'user', person, 'member.joined', 'user', person::text, null,
                          jsonb_build_object('roles', invitation.roles), trail);
        update org_control c set policy_version = c.policy_version + 1 where c.org_id = org;
        perform control_change('policy', org, null);
    end if;
    return true;
end
$$;

-- The live orgs of a person, oldest membership first; sandboxes are reached by test keys, deleted ones by nobody.
create or replace function gate_orgs_of(person uuid)
    returns table (id uuid, slug text, name text, tier text, status text, created_at timestamptz,
                   roles text[], member_status text)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select o.id, o.slug, o.name, c.tier, c.status, o.created_at, m.roles, m.status
    from members m
    join orgs o on o.id = m.org_id
    join org_control c on c.org_id = m.org_id
    where m.user_id = person and o.sandbox_of is null and c.status <> 'deleted'
    order by m.created_at, o.id
$$;

-- One more org for a person, who owns it; false where they own as many as one may.
create function gate_found_org(person uuid, org uuid, org_slug text, org_name text, sandbox uuid, most bigint, trail jsonb)
    returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    founder users;
begin
    -- Who founds several at once is counted after each.
    select u.* into founder from users u where u.id = person for no key update;
    if (select count(*) from gate_orgs_of(person) mine where 'owner' = any (mine.roles)) >= most then
        return false;
    end if;
    perform found_org(org, org_slug, org_name, sandbox, person, founder.email, founder.name);
    perform audit_org(org, 'user', person, 'org.created', 'org', org::text, null,
                      jsonb_build_object('slug', org_slug, 'name', org_name), trail);
    return true;
end
$$;

-- Ends a person's own membership, unless the org or the person were left with nobody: answers `left`, `not_found`,
-- `last_owner` or `last_org`.
create function gate_leave(person uuid, org uuid, trail jsonb)
    returns text
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    mine members;
begin
    -- Who leaves two orgs at once leaves one after the other.
    perform 1 from users u where u.id = person for no key update;
    -- Changes of an org's members take turns.
    perform 1 from org_control c where c.org_id = org for no key update;
    if not exists (select from gate_orgs_of(person) theirs where theirs.id = org) then
        return 'not_found';
    elsif is_last_owner(org, person) then
        return 'last_owner';
    elsif not exists (select from gate_orgs_of(person) theirs where theirs.id <> org) then
        return 'last_org';
    end if;
    delete from members m where m.org_id = org and m.user_id = person returning * into mine;
    delete from members m using orgs o where o.sandbox_of = org and m.org_id = o.id and m.user_id = person;
    perform audit_org(org, 'user', person, 'member.left', 'user', person::text,
                      jsonb_build_object('roles', mine.roles), null, trail);
    update org_control c set policy_version = c.policy_version + 1 where c.org_id = org;
    perform control_change('policy', org, null);
    return 'left';
end
$$;

-- Whoever is removed from the org that the calling transaction has set is no member of its sandbox either.
create function gate_remove_from_sandbox(person uuid)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    delete from members m using orgs o
    where o.sandbox_of = current_setting('app.org_id')::uuid and m.org_id = o.id and m.user_id = person
$$;

-- Deletes the org that the calling transaction has set, and its sandbox: kept, and answering nobody. Answers both.
create function gate_delete_org()
    returns setof uuid
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    deleted uuid;
begin
    for deleted in
        update org_control c set status = 'deleted'
        from orgs o
        where o.id = c.org_id and current_setting('app.org_id')::uuid in (o.id, o.sandbox_of)
        returning o.id
    loop
        perform control_change('org', deleted, null);
        return next deleted;
    end loop;
end
$$;

select hang_gates();
