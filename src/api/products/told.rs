//! What the audit and the events tell of products: all but the cost, which not everybody who reads of them may see.

use super::Product;
use crate::events::Entry;

pub fn created(product: &Product) -> Entry {
    Entry::made("product.created", "product", product.id.uuid(), &told(product))
}

pub fn updated(before: &Product, after: &Product) -> Entry {
    Entry::changed("product.updated", "product", after.id.uuid(), &told(before), &told(after))
}

pub fn deleted(product: &Product) -> Entry {
    Entry::gone("product.deleted", "product", product.id.uuid(), &told(product))
}

pub fn restored(product: &Product) -> Entry {
    Entry::made("product.restored", "product", product.id.uuid(), &told(product))
}

fn told(product: &Product) -> Product {
    Product { cost: None, category: None, ..product.clone() }
}
