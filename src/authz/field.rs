//! Fields that not everybody may see: declared once, next to the resource.

use super::Permission;

/// A field of `T` that is there only for holders of a permission: in bodies, filters and sorts.
pub struct Field<T> {
    /// As it is called on the wire.
    pub name: &'static str,
    pub permission: Permission,
    /// Takes it out, so that it is left out of the answer.
    pub hide: fn(&mut T),
}
