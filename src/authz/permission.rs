//! Permissions: a resource and an action, from a fixed registry.

use std::{fmt, str::FromStr};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($variant,)+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// What something is done to.
    Resource {
        Org = "org",
        Users = "users",
        Invitations = "invitations",
        Roles = "roles",
        ApiKeys = "api_keys",
        AuditEvents = "audit_events",
        Decisions = "decisions",
        Categories = "categories",
        Products = "products",
        Orders = "orders",
        PlatformOrgs = "platform_orgs",
        PlatformTiers = "platform_tiers",
        PlatformKeys = "platform_keys",
    }
}

words! {
    /// What is done.
    Action {
        Read = "read",
        Create = "create",
        Update = "update",
        Delete = "delete",
        Pay = "pay",
        Fulfil = "fulfil",
        Cancel = "cancel",
        Refund = "refund",
    }
}

/// `products:create`. Each tenant route declares exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission {
    pub resource: Resource,
    pub action: Action,
}

impl Permission {
    pub const COUNT: usize = Resource::ALL.len() * Action::ALL.len();

    /// Its place in a bit set of all permissions.
    pub const fn index(self) -> usize {
        self.resource as usize * Action::ALL.len() + self.action as usize
    }

    pub fn all() -> impl Iterator<Item = Self> {
        Resource::ALL
            .iter()
            .flat_map(|&resource| Action::ALL.iter().map(move |&action| Self { resource, action }))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource.as_str(), self.action.as_str())
    }
}

impl FromStr for Permission {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (resource, action) = text.split_once(':').ok_or(())?;
        let &resource = Resource::ALL.iter().find(|known| known.as_str() == resource).ok_or(())?;
        let &action = Action::ALL.iter().find(|known| known.as_str() == action).ok_or(())?;
        Ok(Self { resource, action })
    }
}
