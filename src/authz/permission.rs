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
        Usage = "usage",
        Categories = "categories",
        Products = "products",
        Orders = "orders",
        Files = "files",
        Jobs = "jobs",
        Schedules = "schedules",
        Imports = "imports",
        Exports = "exports",
        Events = "events",
        Webhooks = "webhooks",
        PlatformOrgs = "platform_orgs",
        PlatformTiers = "platform_tiers",
        PlatformOverrides = "platform_overrides",
        PlatformLimits = "platform_limits",
        PlatformKeys = "platform_keys",
        PlatformUsage = "platform_usage",
        PlatformSimulations = "platform_simulations",
        PlatformJobs = "platform_jobs",
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
        CancelOwn = "cancel_own",
        Refund = "refund",
        ReadCost = "read_cost",
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

    /// Whether it is an operator's, and nothing that an org gives.
    pub fn is_platforms(self) -> bool {
        self.resource.as_str().starts_with("platform_")
    }

    /// What whoever holds this one holds as well.
    pub const fn implied(self) -> Option<Self> {
        match (self.resource, self.action) {
            (Resource::Orders, Action::Cancel) => {
                Some(Self { resource: Resource::Orders, action: Action::CancelOwn })
            }
            _ => None,
        }
    }

    /// The one that holding this one follows from, if there is any.
    pub fn implied_by(self) -> Option<Self> {
        Self::all().find(|stronger| stronger.implied() == Some(self))
    }

    /// What it lets somebody do, in a sentence; none for a pair that means nothing.
    pub const fn sentence(self) -> Option<&'static str> {
        use Action::{Cancel, CancelOwn, Create, Delete, Fulfil, Pay, Read, ReadCost, Refund, Update};
        Some(match (self.resource, self.action) {
            (Resource::Org, Read) => "See the organisation.",
            (Resource::Org, Update) => "Change the organisation and what it asks of its members.",
            (Resource::Org, Delete) => "Delete the organisation.",
            (Resource::Users, Read) => "See the members and what they may do.",
            (Resource::Users, Update) => "Change the roles, tier and status of members.",
            (Resource::Users, Delete) => "Remove members.",
            (Resource::Invitations, Read) => "See who is invited.",
            (Resource::Invitations, Create) => "Invite people.",
            (Resource::Invitations, Update) => "Send invitations again.",
            (Resource::Invitations, Delete) => "Withdraw invitations.",
            (Resource::Roles, Read) => "See the roles.",
            (Resource::Roles, Create) => "Make roles, of no more than you hold yourself.",
            (Resource::Roles, Update) => "Change roles that hold no more than you do yourself.",
            (Resource::Roles, Delete) => "Delete roles that hold no more than you do yourself.",
            (Resource::ApiKeys, Read) => "See the API keys, without their secrets.",
            (Resource::ApiKeys, Create) => "Make API keys, of no more than you hold yourself.",
            (Resource::ApiKeys, Update) => "Change and rotate API keys.",
            (Resource::ApiKeys, Delete) => "Revoke API keys.",
            (Resource::AuditEvents, Read) => "See who did what.",
            (Resource::Decisions, Read) => "See why others were let in or refused.",
            (Resource::Usage, Read) => "See how much was asked for, by which key, and what was refused.",
            (Resource::Categories, Read) => "See the categories.",
            (Resource::Categories, Create) => "Create categories.",
            (Resource::Categories, Update) => "Rename and move categories.",
            (Resource::Categories, Delete) => "Delete categories.",
            (Resource::Products, Read) => "See the products.",
            (Resource::Products, ReadCost) => "See and set what products cost the organisation itself.",
            (Resource::Products, Create) => "Create products.",
            (Resource::Products, Update) => "Change products.",
            (Resource::Products, Delete) => "Delete products.",
            (Resource::Orders, Read) => "See the orders.",
            (Resource::Orders, Create) => "Place orders.",
            (Resource::Orders, Update) => "Change the note and metadata of orders.",
            (Resource::Orders, Pay) => "Mark orders as paid.",
            (Resource::Orders, Fulfil) => "Mark orders as fulfilled.",
            (Resource::Orders, CancelOwn) => "Cancel the orders that one has placed oneself.",
            (Resource::Orders, Cancel) => "Cancel orders, whoever placed them.",
            (Resource::Orders, Refund) => "Refund orders.",
            (Resource::Files, Read) => "See the files.",
            (Resource::Files, Create) => "Upload files.",
            (Resource::Files, Delete) => "Delete files.",
            (Resource::Jobs, Read) => "See the jobs and what came of them.",
            (Resource::Jobs, Cancel) => "Cancel jobs.",
            (Resource::Jobs, Update) => "Retry jobs.",
            (Resource::Schedules, Read) => "See what is scheduled.",
            (Resource::Schedules, Create) => "Schedule what one may do, to be done again and again.",
            (Resource::Schedules, Update) => "Change, pause and resume schedules of what one may do.",
            (Resource::Schedules, Delete) => "Delete schedules.",
            (Resource::Imports, Create) => "Import by the file what one may create and update.",
            (Resource::Imports, Read) => "See what was wrong with the rows of imports.",
            (Resource::Exports, Create) => "Export into a file what one may see.",
            (Resource::Events, Read) => "See what happened to what one may see.",
            (Resource::Exports, Read) => "Download exports of what one may see.",
            (Resource::Webhooks, Read) => "See the webhooks, and what became of what they were told.",
            (Resource::Webhooks, Create) => "Make webhooks, for no more than you may see yourself.",
            (Resource::Webhooks, Update) => {
                "Change, test and replay webhooks, for no more than you may see yourself, and rotate their secrets."
            }
            (Resource::Webhooks, Delete) => "Delete webhooks.",
            _ => return None,
        })
    }

    /// A permission that an org may give to its own roles.
    pub fn of_tenants(text: &str) -> Option<Self> {
        text.parse()
            .ok()
            .filter(|permission: &Self| permission.sentence().is_some() && !permission.is_platforms())
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
