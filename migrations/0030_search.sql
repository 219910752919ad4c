-- Search: an index proposes products, and row-level security disposes of them.
--
-- Under row-level security an index serves leakproof operators alone, and those of search are not. So the index is
-- read by one function with a role and a policy of its own. It answers ids and ranks and no rows, of the org that the
-- transaction has set and no other: whoever asks reads the rows under their own policy.
--
-- Postgres' own means alone would not do. In an index that a thousand orgs share, a prefix (`wid:*`) reads whatever
-- begins so in any of them. And trigrams have too little of short words: `bleu` has a quarter in common with `blue`,
-- and as much with a hundred others. So a word is kept under each of its beginnings, and under what is left of it
-- without each of its letters: whatever is asked for is a key, and is looked up.

do $$
begin
    if to_regrole('insula_search') is null or not pg_has_role('insula_search', 'member') then
        raise exception 'the role insula_search is missing: run `insula bootstrap` again, which makes what is missing, and then migrate';
    end if;
end
$$;

-- For org_id to stand first in an index of words.
create extension if not exists btree_gin;

-- Without case, accents and other forms of a letter. (unaccent depends on a dictionary, so no column can depend on it.)
create function search_fold(told text) returns text
    language sql immutable strict parallel safe
    return replace(replace(replace(
        translate(
            lower(regexp_replace(normalize(told, nfkd), '[\u0300-\u036f]+', '', 'g')),
            'øØłŁđĐħĦı', 'oollddhhi'
        ), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe');

-- What stands between spaces, punctuation and symbols, whatever the server's locale takes for a letter. The rest of a
-- word that is longer than 32 letters tells it from no other.
create function search_words(told text) returns text[]
    language sql immutable strict parallel safe
    return array(
        select left(word, 32)
        from regexp_split_to_table(
            search_fold(told),
            '[\u0001-/:-@[-`{-\u00bf×÷\u2000-\u2bff\u3000-\u3004\u3008-\u303f\ufe00-\ufe0f\U0001f000-\U0001faff]+'
        ) with ordinality words (word, place)
        where word <> ''
        order by place
    );

-- The keys of a product. Of the words of its sku and name: `=word`, `<beginning`, and `3~word` for the word without
-- its third letter, unless that is short, or has a digit: another number is another thing. Of those of its
-- description: `.word`.
create function search_keys(sku text, name text, description text) returns tsvector
    language plpgsql immutable strict parallel safe
    as $$
declare
    sku_words text[] := search_words(sku);
    word text;
    keys text[] := array(select '.' || told from unnest(search_words(description)) told);
begin
    foreach word in array sku_words || search_words(name) || array_to_string(sku_words, '') loop
        continue when word = '';
        word := left(word, 32);
        keys := keys || ('=' || word);
        if length(word) between 4 and 21 and word !~ '[0-9]' then
            for place in 1 .. length(word) loop
                keys := keys
                    || array['<' || left(word, place), place || '~' || overlay(word placing '' from place for 1)];
            end loop;
        else
            for place in 1 .. length(word) loop
                keys := keys || ('<' || left(word, place));
            end loop;
        end if;
    end loop;
    return array_to_tsvector(keys);
end
$$;

-- What finds a word of four letters or more that is misspelt: one letter too many, one too few, another one, or two
-- that have changed places.
create function search_slips(word text) returns text[]
    language sql immutable strict parallel safe
    return array(
        select unnest(array[
            '=' || overlay(word placing '' from place for 1),
            place || '~' || word,
            place || '~' || overlay(word placing '' from place for 1),
            '=' || overlay(word placing reverse(substr(word, place, 2)) from place for 2)
        ])
        from generate_series(1, length(word) + 1) place
        where length(word) between 4 and 20 and word !~ '[0-9]'
    );

alter table products add column search tsvector not null generated always as (search_keys(sku, name, description)) stored;
-- What is written is in it at once, and nobody who searches has to look through a list of what is not.
create index products_search on products using gin (org_id, search) with (fastupdate = off) where deleted_at is null;

grant usage on schema public to insula_search;
grant select (org_id, id, sku, name, search, deleted_at) on products to insula_search;
create policy search on products for select to insula_search using (true);
-- Whoever writes products writes their keys.
grant execute on function search_fold, search_words, search_keys to insula_app, insula_platform, insula_search;
grant execute on function search_slips to insula_search;

-- The products of the org that the transaction has set in which each of the first ten words of `q` is found: as a word
-- of the sku or the name, as the beginning of one, misspelt, or as a word of the description. How well they fit is from
-- 0 to 1, which is the product's own sku; the best come first, no more than `most` of them, or all where that is null.
create function search_products(q text, most integer) returns table (id uuid, rank real)
    language plpgsql stable security definer rows 20
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    -- Words have no quotes in them.
    asked text[] := (search_words(q))[1:10];
    wholes tsquery[] := array(select format('''=%s''', word)::tsquery from unnest(asked) word);
    beginnings tsquery[] := array(select format('''<%s''', word)::tsquery from unnest(asked) word);
    told tsquery[] := array(select format('''.%s''', word)::tsquery from unnest(asked) word);
    wanted tsquery := (
        select string_agg('(' || (
            select string_agg(quote_literal(key), '|')
            from unnest(array['<' || word, '.' || word] || search_slips(word)) key
        ) || ')', '&')
        from unnest(asked) word
    )::tsquery;
    sku_asked text := lower(btrim(q));
begin
    if wanted is null then
        return;
    end if;
    return query
    select p.id, case when lower(p.sku) = sku_asked then 1 else (
        select avg(case
            when p.search @@ whole then 0.99
            when p.search @@ beginning then 0.8
            when p.search @@ telling then 0.5
            else 0.3
        end)
        from unnest(wholes, beginnings, told) words (whole, beginning, telling)
    ) end::real as rank
    from products p
    where p.org_id = current_setting('app.org_id')::uuid and p.deleted_at is null and p.search @@ wanted
    order by rank desc, length(p.name), p.id
    limit most;
end
$$;
grant create on schema public to insula_search;
alter function search_products owner to insula_search;
revoke create on schema public from insula_search;
set local role insula_search;
grant execute on function search_products to insula_app;
reset role;
