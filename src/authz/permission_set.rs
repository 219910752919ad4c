//! A set of permissions, a bit each.

use super::Permission;
use std::{
    fmt,
    ops::{BitAnd, BitOr, Sub},
};

const WORDS: usize = Permission::COUNT.div_ceil(64);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PermissionSet([u64; WORDS]);

impl PermissionSet {
    pub fn insert(&mut self, permission: Permission) {
        self.0[permission.index() / 64] |= 1 << (permission.index() % 64);
    }

    pub fn contains(&self, permission: Permission) -> bool {
        self.0[permission.index() / 64] & 1 << (permission.index() % 64) != 0
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn is_subset(&self, other: &Self) -> bool {
        (*self - *other).is_empty()
    }

    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::all().filter(move |permission| self.contains(*permission))
    }

    /// With what each of them implies.
    #[must_use]
    pub fn with_implied(self) -> Self {
        self | self.iter().filter_map(Permission::implied).collect()
    }

    /// With what implies any of them: whoever may not do the lesser thing may not do the greater.
    #[must_use]
    pub fn with_implying(self) -> Self {
        self | self.iter().filter_map(Permission::implied_by).collect()
    }

    /// Of these texts, those that name a permission.
    pub fn read(texts: &[String]) -> Self {
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Their texts, for people.
    pub fn texts(self) -> Vec<String> {
        self.iter().map(|permission| permission.to_string()).collect()
    }

    fn each(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let mut words = self.0;
        words.iter_mut().zip(other.0).for_each(|(word, other)| *word = with(*word, other));
        Self(words)
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let mut set = Self::default();
        permissions.into_iter().for_each(|permission| set.insert(permission));
        set
    }
}

impl BitOr for PermissionSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.each(other, |a, b| a | b)
    }
}

impl BitAnd for PermissionSet {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.each(other, |a, b| a & b)
    }
}

impl Sub for PermissionSet {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.each(other, |a, b| a & !b)
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.texts()).finish()
    }
}
