use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, ConflictTarget, Expr, FromTable, Insert, ObjectName, OnInsert, Select, Statement as Sql,
    TableFactor, TableObject, TableWithJoins, Visit as _, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::*;

/// All that [`Writing`] and [`Reading`] prepare.
const STATEMENTS: [&str; 15] = [
    APPEND,
    TAKE_FIRST,
    TOUCH,
    TRIM,
    REMOVE,
    EXPIRE,
    MARK,
    SETTLE,
    READ,
    LAST,
    LAST_MANY,
    HEADS,
    COUNT,
    DUE,
    FORGET_WRITERS,
];
/// They decide and change nothing by what they see across keys: one proposes, the other tidies up after servers.
const ACROSS_KEYS: [&str; 2] = [DUE, FORGET_WRITERS];

#[test]
fn no_statement_spans_keys() {
    for sql in STATEMENTS {
        let found = look_at(sql);
        assert!(found.tables > 0, "{sql}");
        assert_eq!(found.across_keys.is_empty(), !ACROSS_KEYS.contains(&sql), "{:?} in {sql}", found.across_keys);
    }
    assert!(matches!(parse(DUE), Sql::Query(query) if query.body.as_select().is_some() && query.with.is_none()));
}

#[test]
fn statements_that_span_keys_are_recognised() {
    let spanning = [
        "SELECT seq FROM entry",
        "SELECT seq FROM entry WHERE seq = $1",
        "SELECT seq FROM entry WHERE key > $1",
        "SELECT seq FROM entry WHERE key = $1 OR seq = 1",
        "SELECT h.last FROM head h WHERE NOT h.key = $1",
        "SELECT h.last FROM head h JOIN entry e ON h.key = e.key WHERE h.key = $1",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM entry)",
        "DELETE FROM entry WHERE seq = 1",
        "UPDATE head SET last = 1",
        "WITH gone AS (DELETE FROM entry RETURNING key) SELECT 1 FROM head WHERE key = $1",
        "INSERT INTO head (last, key) VALUES (1, $1) ON CONFLICT (last) DO NOTHING",
        "INSERT INTO entry (key) SELECT key FROM head",
    ];
    for sql in spanning {
        assert!(!look_at(sql).across_keys.is_empty(), "{sql}");
    }
    assert!(look_at("SELECT seq FROM entry WHERE key = $1 AND seq > 3").across_keys.is_empty());
}

#[test]
fn every_table_begins_with_what_it_is_split_by() {
    for (table, column) in [("head", "key"), ("entry", "key"), ("writer", "id")] {
        let definition = SCHEMA.split("CREATE TABLE ").find(|text| text.starts_with(&format!("{table} ("))).unwrap();
        let keyed = definition.contains(&format!("{column} bytea PRIMARY KEY"))
            || definition.contains(&format!("PRIMARY KEY ({column},"));
        assert!(keyed, "{definition}");
    }
}

fn parse(sql: &str) -> Sql {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    assert_eq!(statements.len(), 1);
    statements.remove(0)
}

fn look_at(sql: &str) -> Found {
    let mut found = Found::default();
    let _done = parse(sql).visit(&mut found);
    assert_eq!(found.judged, found.tables, "a table in a place that nobody looked at: {sql}");
    found
}

#[derive(Default)]
struct Found {
    /// Mentions of our tables, wherever they stand.
    tables: usize,
    /// Those in a place that is understood.
    judged: usize,
    /// Those without their key in the condition beside them.
    across_keys: Vec<String>,
}

impl Found {
    fn tables_in(&mut self, from: &[TableWithJoins], selection: Option<&Expr>) {
        let factors = from
            .iter()
            .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
        for factor in factors {
            let TableFactor::Table { name, alias, .. } = factor else { continue };
            let Some(column) = split_by(name) else { continue };
            self.judged += 1;
            let alias = alias.as_ref().map(|alias| alias.name.value.clone());
            if !selection.is_some_and(|selection| names(selection, alias.as_deref(), column)) {
                self.across_keys.push(name.to_string());
            }
        }
    }

    fn insertion(&mut self, insert: &Insert) {
        let TableObject::TableName(name) = &insert.table else { return };
        let Some(column) = split_by(name) else { return };
        self.judged += 1;
        let first = insert.columns.first().is_some_and(|first| first.to_string() == column);
        let conflicts = match &insert.on {
            Some(OnInsert::OnConflict(conflict)) => match &conflict.conflict_target {
                Some(ConflictTarget::Columns { columns, .. }) => columns.iter().all(|c| c.to_string() == column),
                _ => false,
            },
            Some(_) => false,
            None => true,
        };
        if !first || !conflicts {
            self.across_keys.push(name.to_string());
        }
    }
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.tables += usize::from(split_by(relation).is_some());
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.tables_in(&select.from, select.selection.as_ref());
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Sql) -> ControlFlow<()> {
        match statement {
            Sql::Insert(insert) => self.insertion(insert),
            Sql::Update(update) => {
                assert!(update.from.is_none());
                self.tables_in(std::slice::from_ref(&update.table), update.selection.as_ref());
            }
            Sql::Delete(delete) => {
                assert!(delete.using.is_none() && delete.tables.is_empty());
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
                self.tables_in(from, delete.selection.as_ref());
            }
            Sql::Query(_) => {}
            other => panic!("{other}"),
        }
        ControlFlow::Continue(())
    }
}

/// The column by which a table of ours is split.
fn split_by(name: &ObjectName) -> Option<&'static str> {
    match name.to_string().as_str() {
        "head" | "entry" => Some("key"),
        "writer" => Some("id"),
        _ => None,
    }
}

/// Whether a condition holds for one key only: `column = something` in all of it, where something is a parameter or belongs
/// to a list of keys.
fn names(condition: &Expr, alias: Option<&str>, column: &str) -> bool {
    match condition {
        Expr::Nested(inner) => names(inner, alias, column),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            names(left, alias, column) || names(right, alias, column)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let ours = match alias {
                Some(alias) => format!("{alias}.{column}"),
                None => column.to_owned(),
            };
            let other = right.to_string();
            left.to_string() == ours && (other == "$1" || ["t.key", "a.key", "k.key"].contains(&other.as_str()))
        }
        _ => false,
    }
}
