//! What a role may do, by PostgreSQL's own catalogue. A session that only reads is no proof, because its
//! role can lift that; these are rights, of the role and of every role that it can take.

use super::trouble::{At, trouble};
use crate::server::{Rights, Trouble};
use std::time::Duration;
use tokio_postgres::Client;

/// Rows that come back at most; a superuser may do everything to every table.
const READ: &str = r"
with mine as (
  select * from pg_catalog.pg_roles r where pg_catalog.pg_has_role(session_user, r.oid, 'member')
), things as (
  select c.oid, c.relkind, c.relowner from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname not like 'pg\_temp\_%'
), found (rank, kind, what) as (
  select 0, 'role', session_user::text
  union select 1, 'write', 'role ' || rolname || ' is a superuser' from mine where rolsuper
  union select 2, 'write', 'role ' || rolname || ' may make roles' from mine where rolcreaterole
  union select 2, 'write', 'role ' || rolname || ' may make databases' from mine where rolcreatedb
  union select 2, 'write', 'role ' || rolname || ' may replicate' from mine where rolreplication
  union select 3, 'write', 'it is in ' || rolname from mine
    where rolname in ('pg_write_all_data', 'pg_write_server_files', 'pg_read_server_files',
      'pg_execute_server_program', 'pg_signal_backend', 'pg_checkpoint', 'pg_create_subscription', 'pg_maintain')
  union select 4, 'write', 'it owns ' || t.oid::regclass::text from things t join mine m on m.oid = t.relowner
  union select 5, 'write', p.word || ' on ' || t.oid::regclass::text from things t, mine m,
    (values ('insert'), ('update'), ('delete'), ('truncate'), ('trigger')) p (word)
    where t.relkind <> 'S' and (pg_catalog.has_table_privilege(m.oid, t.oid, p.word)
      or (p.word in ('insert', 'update') and pg_catalog.has_any_column_privilege(m.oid, t.oid, p.word)))
  union select 6, 'write', 'next value of ' || t.oid::regclass::text from things t, mine m
    where t.relkind = 'S' and pg_catalog.has_sequence_privilege(m.oid, t.oid, 'usage, update')
  union select 7, 'write', 'create in schema ' || n.nspname from pg_catalog.pg_namespace n, mine m
    where n.nspname not like 'pg\_temp\_%' and n.nspname not like 'pg\_toast\_temp\_%'
      and (n.nspowner = m.oid or pg_catalog.has_schema_privilege(m.oid, n.oid, 'create'))
  union select 8, 'write', 'create in database ' || d.datname from pg_catalog.pg_database d, mine m
    where d.datname = pg_catalog.current_database()
      and (d.datdba = m.oid or pg_catalog.has_database_privilege(m.oid, d.oid, 'create'))
  union select 9, 'lend', p.oid::regprocedure::text from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace, mine m
    where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')
      and pg_catalog.has_function_privilege(m.oid, p.oid, 'execute')
)
select kind, what from found order by rank, what limit 200";

pub(super) async fn read(client: &Client) -> Result<Rights, Trouble> {
    let rows = client.query(READ, &[]).await.map_err(|error| trouble(&error, At::Prepare, Duration::ZERO))?;
    let mut rights = Rights::default();
    for row in &rows {
        let (kind, what): (&str, String) = match (row.try_get(0), row.try_get(1)) {
            (Ok(kind), Ok(what)) => (kind, what),
            _ => return Err(Trouble::Lost("the role's rights cannot be read".to_owned())),
        };
        match kind {
            "role" => rights.role = what,
            "write" => rights.writes.push(what),
            _ => rights.lends.push(what),
        }
    }
    Ok(rights)
}
