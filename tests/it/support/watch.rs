//! Who writes what: every row of an org's that is written, with the transaction that wrote it.

use super::Database;

const WATCH: &str = "
    create table watched (xact xid8 not null, name text not null, primary key (xact, name));
    create function note_written() returns trigger language plpgsql security definer as $$
    begin
        insert into public.watched values (pg_current_xact_id(), tg_table_name) on conflict do nothing;
        return null;
    end
    $$;
    do $$
    declare
        fenced regclass;
    begin
        for fenced in
            select attrelid from pg_attribute a join pg_class c on c.oid = a.attrelid
            where a.attname = 'org_id' and c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
        loop
            execute format('create trigger note_written after insert or update or delete on %s '
                           'for each row execute function note_written()', fenced);
        end loop;
    end
    $$";

impl Database {
    /// Has all that is written from here on noted; to be asked for before anybody works on it.
    pub async fn watch(&self) {
        self.run(WATCH).await;
    }

    /// What transactions wrote without a line of the audit and an event beside: the tables of each, and each once.
    pub async fn written_untold(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select distinct string_agg(name, ' ' order by name) from watched group by xact
             having not bool_or(name = 'events') or not bool_or(name = 'audit_events') order by 1",
        )
        .fetch_all(&mut self.superuser().await)
        .await
        .unwrap()
    }
}
