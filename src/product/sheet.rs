//! A product as a line of a file, and what such a line stands for: the JSON object that would make the product.
//!
//! What is written is read back the same, and a spreadsheet that opens it runs nothing: a text that it would take for a
//! formula is written after a `'`, and one `'` before such a text is taken away again.

use super::NewProduct;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The columns of a CSV file, as they are written.
pub const COLUMNS: [&str; 10] = [
    "sku",
    "name",
    "description",
    "price_amount",
    "price_currency",
    COST,
    "stock",
    "category_id",
    "is_active",
    "metadata",
];
/// The columns that each file has.
pub const REQUIRED: [&str; 4] = ["sku", "name", "price_amount", "price_currency"];

/// In the currency of the price; not for everybody.
const COST: &str = "cost_amount";

/// The header of a file.
pub fn header(costs: bool) -> impl Iterator<Item = &'static str> {
    COLUMNS.into_iter().filter(move |column| costs || *column != COST)
}

/// A row under that header.
///
/// # Errors
/// None but bugs: metadata is always JSON.
pub fn cells(product: &NewProduct, costs: bool) -> serde_json::Result<Vec<Cow<'_, str>>> {
    let cost = product.cost.as_ref().map(|cost| cost.amount.to_string()).unwrap_or_default();
    let mut cells = vec![
        guarded(&product.sku),
        guarded(&product.name),
        guarded(&product.description),
        product.price.amount.to_string().into(),
        product.price.currency.as_str().into(),
    ];
    cells.extend(costs.then_some(cost.into()));
    cells.extend([
        Cow::from(product.stock.to_string()),
        product.category_id.map(|id| id.to_string()).unwrap_or_default().into(),
        if product.is_active { "true" } else { "false" }.into(),
        serde_json::to_string(&product.metadata)?.into(),
    ]);
    Ok(cells)
}

/// The same as a line of JSON, without its end.
///
/// # Errors
/// None but bugs.
pub fn line(product: &NewProduct, costs: bool) -> serde_json::Result<Vec<u8>> {
    if costs {
        return serde_json::to_vec(product);
    }
    let mut line = serde_json::to_value(product)?;
    if let Some(fields) = line.as_object_mut() {
        fields.remove("cost");
    }
    serde_json::to_vec(&line)
}

/// The JSON object that a row stands for. A cell that can't be what its column holds stays a text, for whoever checks
/// the object to say so. Nothing in a cell is an empty text, no cost or no category; elsewhere it is as if the column
/// were not there.
pub fn object<'column, 'cell>(row: impl Iterator<Item = (&'column str, &'cell str)>) -> Value {
    let (mut object, mut price, mut cost) = (Map::new(), Map::new(), None);
    for (column, cell) in row {
        let value = match column {
            "price_amount" => {
                price.insert("amount".to_owned(), number(cell));
                continue;
            }
            "price_currency" => {
                price.insert("currency".to_owned(), json!(cell));
                continue;
            }
            COST => {
                cost = Some(cell);
                continue;
            }
            "category_id" if cell.is_empty() => Value::Null,
            "stock" | "is_active" | "metadata" if cell.is_empty() => continue,
            "stock" => number(cell),
            "is_active" | "metadata" => serde_json::from_str(cell).unwrap_or_else(|_| json!(cell)),
            "category_id" => json!(cell),
            _ => json!(unguarded(cell)),
        };
        object.insert(column.to_owned(), value);
    }
    if let Some(cost) = cost {
        let currency = price.get("currency").cloned().unwrap_or_default();
        let cost =
            if cost.is_empty() { Value::Null } else { json!({"amount": number(cost), "currency": currency}) };
        object.insert("cost".to_owned(), cost);
    }
    object.insert("price".to_owned(), price.into());
    object.into()
}

fn number(cell: &str) -> Value {
    cell.parse::<i64>().map_or_else(|_| json!(cell), Value::from)
}

/// The column of a row where its object is wrong.
pub fn column(pointer: &str) -> String {
    let parts: Vec<&str> = pointer.split('/').skip(1).collect();
    match parts.as_slice() {
        [] => String::new(),
        // It has no column of its own: it is that of the price.
        ["cost", "currency"] => "/price_currency".to_owned(),
        ["cost", ..] => format!("/{COST}"),
        ["price"] => "/price_amount".to_owned(),
        ["price", part, ..] => format!("/price_{part}"),
        [column, ..] => format!("/{column}"),
    }
}

/// What a spreadsheet would run; and what stands for such a text in a file.
fn runs(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\''])
}

fn guarded(text: &str) -> Cow<'_, str> {
    if runs(text) { format!("'{text}").into() } else { text.into() }
}

fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| runs(text)).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::CategoryId, money::Money};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_product_is_read_back_as_it_was_written(
            sku in ".{1,8}", name in "['=+@\t\r\n,\"a-]{1,8}", description in any::<String>(),
            price in 0..1_000_000_i64, cost in proptest::option::of(0..1_000_000_i64), stock in 0..i32::MAX,
            in_one: bool, is_active: bool, note in any::<String>(),
        ) {
            let money = |amount| Money::from_columns(amount, "EUR".to_owned());
            let metadata = serde_json::from_value(json!({"note": note})).unwrap();
            let product = NewProduct {
                sku, name, description, price: money(price), cost: cost.map(money), stock,
                category_id: in_one.then(CategoryId::new), is_active, metadata,
            };
            let cells = cells(&product, true).unwrap();
            let row = header(true).zip(cells.iter().map(AsRef::as_ref));
            prop_assert_eq!(&serde_json::from_value::<NewProduct>(object(row)).unwrap(), &product);
            let line = line(&product, true).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<NewProduct>(&line).unwrap(), &product);
        }

        #[test]
        fn no_text_begins_a_formula_and_each_is_itself_again(text: String, formula in "['=+@\t\r-]{1,3}[a-z]{0,3}") {
            for text in [text, formula] {
                let cell = guarded(&text);
                prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
                prop_assert_eq!(unguarded(&cell), text.as_str());
            }
        }
    }

    #[test]
    fn a_row_without_costs_has_as_many_cells_as_its_header() {
        let product: NewProduct = serde_json::from_value(
            json!({"sku": "A", "name": "B", "price": {"amount": 1, "currency": "EUR"}}),
        )
        .unwrap();
        for costs in [true, false] {
            assert_eq!(cells(&product, costs).unwrap().len(), header(costs).count());
            let line: Value = serde_json::from_slice(&line(&product, costs).unwrap()).unwrap();
            assert_eq!(line.get("cost").is_some(), costs);
        }
    }

    #[test]
    fn what_is_wrong_in_an_object_is_wrong_in_a_column() {
        for (pointer, place) in [
            ("", ""),
            ("/sku", "/sku"),
            ("/price/amount", "/price_amount"),
            ("/cost/amount", "/cost_amount"),
            ("/cost", "/cost_amount"),
            ("/cost/currency", "/price_currency"),
            ("/metadata/a~1b", "/metadata"),
        ] {
            assert_eq!(column(pointer), place);
        }
    }
}
