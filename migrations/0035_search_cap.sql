-- Search: a word that very many products have is answered in good time too. Ranking all of a million took seconds; so of
-- those that fit, 5,000 are ranked, taken in an order in which the best come early, and whoever asks is told.

set local role insula_search;
drop function search_products(text, integer);
reset role;

-- The products of the org that the transaction has set in which each of the first ten words of `q` is found: as a word
-- of the sku or the name, as the beginning of one, misspelt, or as a word of the description. How well they fit is from
-- 0 to 1, which is the product's own sku; the best come first, no more than `most` of them, or all where that is null.
-- Where more than 5,000 fit, all rows say that something is `missing`: ranked are those with all the words whole, where
-- these are fewer those with all their beginnings, and where these are fewer the others, until there are so many.
--
-- Whatever it takes for the better plan, Postgres may not walk another index and look for words in each row: of an org
-- where few have them it would read all.
create function search_products(q text, most integer) returns table (id uuid, rank real, missing boolean)
    language plpgsql stable security definer rows 20
    set search_path = pg_catalog, public, pg_temp
    set enable_seqscan = off
    set enable_indexscan = off
    set enable_indexonlyscan = off
    as $$
#variable_conflict use_column
declare
    ranked constant integer := 5000;
    org constant uuid := current_setting('app.org_id')::uuid;
    -- Words have no quotes in them.
    asked text[] := (search_words(q))[1:10];
    wholes tsquery[] := array(select format('''=%s''', word)::tsquery from unnest(asked) word);
    beginnings tsquery[] := array(select format('''<%s''', word)::tsquery from unnest(asked) word);
    told tsquery[] := array(select format('''.%s''', word)::tsquery from unnest(asked) word);
    all_whole tsquery := array_to_string(wholes, '&')::tsquery;
    all_begun tsquery := array_to_string(beginnings, '&')::tsquery;
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
    with own as materialized (
        select p.id, p.sku, p.name, p.search from products p
        where p.org_id = org and p.deleted_at is null and p.sku = any (array[btrim(q), sku_asked, upper(sku_asked)])
    ),
    whole as materialized (
        select p.id, p.sku, p.name, p.search from products p
        where p.org_id = org and p.deleted_at is null and p.search @@ all_whole
        limit ranked + 1
    ),
    begun as materialized (
        select p.id, p.sku, p.name, p.search from products p
        where p.org_id = org and p.deleted_at is null and p.search @@ all_begun
        limit case when (select count(*) from whole) > ranked then 0 else ranked + 1 end
    ),
    fitting as materialized (
        select p.id, p.sku, p.name, p.search from products p
        where p.org_id = org and p.deleted_at is null and p.search @@ wanted
        limit case when greatest((select count(*) from whole), (select count(*) from begun)) > ranked then 0
                   else ranked + 1 end
    ),
    candidates as (
        select * from own
        union all select * from whole where (select count(*) from fitting) not between 1 and ranked
        union all select * from begun where (select count(*) from fitting) not between 1 and ranked
        union all select * from fitting
    ),
    each as (select distinct on (c.id) c.* from candidates c)
    select c.id, case when lower(c.sku) = sku_asked then 1 else (
        select avg(case
            when c.search @@ whole then 0.99
            when c.search @@ beginning then 0.8
            when c.search @@ telling then 0.5
            else 0.3
        end)
        from unnest(wholes, beginnings, told) words (whole, beginning, telling)
    ) end::real as rank,
    greatest((select count(*) from whole), (select count(*) from begun), (select count(*) from fitting)) > ranked
    from each c
    order by rank desc, length(c.name), c.id
    limit least(most, ranked);
end
$$;
grant create on schema public to insula_search;
alter function search_products owner to insula_search;
revoke create on schema public from insula_search;
set local role insula_search;
grant execute on function search_products to insula_app;
reset role;
