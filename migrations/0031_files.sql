-- What an organisation uploads, and which of it shows its products. The bytes are in the storage, under the org and the id.

create table files (
    org_id uuid not null references orgs,
    id uuid not null,
    name text not null,
    -- As the bytes say.
    content_type text not null,
    size bigint not null check (size > 0),
    sha256 bytea not null check (length(sha256) = 32),
    -- In pixels, where it is a picture whose beginning tells.
    width integer check (width > 0),
    height integer check (height > 0),
    created_by_user uuid,
    created_by_key uuid,
    created_at timestamptz not null default now(),
    primary key (org_id, id),
    check ((width is null) = (height is null)),
    check (num_nonnulls(created_by_user, created_by_key) = 1)
);
create index files_created_at on files (org_id, created_at, id);
create index files_name on files (org_id, name collate "C", id);
create index files_content_type on files (org_id, content_type, created_at, id);
select tenant_table('files');

-- What may be in the storage without being a file: of uploads under way, and of files that were deleted. The worker deletes
-- it once it is due, so that whoever dies in between leaves nothing behind.
create table loose_files (
    org_id uuid not null references orgs,
    id uuid not null,
    due_at timestamptz not null,
    primary key (org_id, id)
);
select tenant_table('loose_files');
select platform_access('loose_files', 'select, delete');

create table product_images (
    org_id uuid not null references orgs,
    id uuid not null,
    product_id uuid not null,
    file_id uuid not null,
    -- From 1 up, without a gap.
    position integer not null check (position > 0),
    alt text not null default '',
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (org_id, id),
    foreign key (org_id, product_id) references products,
    foreign key (org_id, file_id) references files,
    -- At the end of each statement, since one that moves an image makes room for it.
    constraint product_images_in_order unique (org_id, product_id, position) deferrable,
    constraint product_images_shown_once unique (org_id, product_id, file_id)
);
-- A file is deleted after a look at what shows it.
create index product_images_file on product_images (org_id, file_id);
select tenant_table('product_images');
-- They go with their product.
select platform_access('product_images', 'select, delete');
