//! The one table of what each role may do.
//!
//! Invariants: permissions are `noun:verb` and stable, since tokens' roles, documents and logs name
//! them; who applies for a loan is not who approves it, so no role has both; a role that may read
//! accounts or transactions may see their balances, so that those replies have one shape.

use std::fmt;

macro_rules! permissions {
    ($($(#[doc = $doc:literal])+ $name:ident $text:literal;)+) => {
        /// What a route needs of its caller.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Permission {
            /// All of them, in the order of the table.
            pub const ALL: &[Permission] = &[$(Permission::$name,)+];

            /// The stable name, `noun:verb`.
            pub const fn name(self) -> &'static str {
                match self { $(Permission::$name => $text,)+ }
            }

            /// What it allows, in words.
            pub const fn meaning(self) -> &'static str {
                match self { $(Permission::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

permissions! {
    /// Read members; personal data stays sealed.
    MembersRead "members:read";
    /// Register members.
    MembersRegister "members:register";
    /// Verify who a member is, or reject it.
    MembersVerify "members:verify";
    /// Suspend, reactivate and deactivate members.
    MembersManage "members:manage";
    /// Read accounts.
    AccountsRead "accounts:read";
    /// Open accounts.
    AccountsOpen "accounts:open";
    /// Freeze and unfreeze accounts.
    AccountsFreeze "accounts:freeze";
    /// Change accounts' minimum balances and credit lines.
    AccountsLimit "accounts:limit";
    /// Mark accounts dormant, reactivate, close, and change their holders.
    AccountsManage "accounts:manage";
    /// See balances, entries and statements, and balances in replies to commands.
    BalancesRead "balances:read";
    /// Read transactions.
    TransactionsRead "transactions:read";
    /// Make transactions, and post or void pending ones.
    TransactionsPost "transactions:post";
    /// Reverse transactions.
    TransactionsReverse "transactions:reverse";
    /// Read currencies, the chart of accounts and periods.
    LedgerRead "ledger:read";
    /// Define currencies and codes of the chart of accounts.
    LedgerWrite "ledger:write";
    /// Open and close accounting periods.
    PeriodsWrite "periods:write";
    /// Read the trial balance and other reports over all accounts.
    ReportsRead "reports:read";
    /// Read loan products.
    LoanProductsRead "loan-products:read";
    /// Define loan products and their versions.
    LoanProductsWrite "loan-products:write";
    /// Read loans, their schedules and arrears.
    LoansRead "loans:read";
    /// Apply for loans.
    LoansApply "loans:apply";
    /// Approve and reject applications.
    LoansApprove "loans:approve";
    /// Disburse approved loans.
    LoansDisburse "loans:disburse";
    /// Record repayments.
    LoansRepay "loans:repay";
    /// Charge fees and penalties on loans, and accrue their interest.
    LoansCharge "loans:charge";
    /// Reverse repayments.
    LoansReverse "loans:reverse";
    /// Write loans off.
    LoansWriteOff "loans:write-off";
    /// Hand in payments that other banks have sent.
    PaymentsReceive "payments:receive";
    /// Decide about payments that wait in suspense: which loan they are for, or back to their payer.
    PaymentsMatch "payments:match";
    /// Read sagas with their timelines.
    SagasRead "sagas:read";
    /// Resume sagas where nothing has to be decided, and abandon them.
    SagasManage "sagas:manage";
    /// Read the log itself.
    EventsRead "events:read";
    /// Read how far the read models are.
    ProjectionsRead "projections:read";
}

impl Permission {
    /// Whether a caller whose token names accounts (`daybook_accounts`) may use it: only where the
    /// route shows and moves nothing but those accounts. All else is refused to such a caller.
    pub const fn is_by_account(self) -> bool {
        matches!(
            self,
            Self::AccountsRead
                | Self::BalancesRead
                | Self::TransactionsRead
                | Self::TransactionsPost
                | Self::LedgerRead
                | Self::LoanProductsRead
        )
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a person or service is to the institution; the claim `roles` of a token names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// At the counter: registers, opens, books, applies.
    Clerk,
    /// Answers for members and accounts: what a clerk may, and verifies, freezes, reverses, disburses.
    Officer,
    /// The second pair of eyes: approves what others applied for.
    Approver,
    /// Reads everything, the log too, and changes nothing.
    Auditor,
    /// Reads what reports are made of.
    Analyst,
    /// Sets the frame (chart of accounts, periods, products) and runs the platform; books nothing.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: &[Role] = &[Role::Clerk, Role::Officer, Role::Approver, Role::Auditor, Role::Analyst, Role::Admin];

    /// The name in tokens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clerk => "clerk",
            Self::Officer => "officer",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Analyst => "analyst",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }

    /// What it may do: the table.
    pub const fn permissions(self) -> &'static [Permission] {
        use Permission as P;
        match self {
            Self::Clerk => &[
                P::MembersRead,
                P::MembersRegister,
                P::AccountsRead,
                P::AccountsOpen,
                P::BalancesRead,
                P::TransactionsRead,
                P::TransactionsPost,
                P::LedgerRead,
                P::LoanProductsRead,
                P::LoansRead,
                P::LoansApply,
                P::LoansRepay,
            ],
            Self::Officer => &[
                P::MembersRead,
                P::MembersRegister,
                P::MembersVerify,
                P::MembersManage,
                P::AccountsRead,
                P::AccountsOpen,
                P::AccountsFreeze,
                P::AccountsManage,
                P::BalancesRead,
                P::TransactionsRead,
                P::TransactionsPost,
                P::TransactionsReverse,
                P::LedgerRead,
                P::ReportsRead,
                P::LoanProductsRead,
                P::LoansRead,
                P::LoansApply,
                P::LoansDisburse,
                P::LoansRepay,
                P::LoansCharge,
                P::LoansReverse,
                P::PaymentsReceive,
                P::PaymentsMatch,
                P::SagasRead,
            ],
            Self::Approver => &[
                P::MembersRead,
                P::AccountsRead,
                P::AccountsLimit,
                P::BalancesRead,
                P::TransactionsRead,
                P::LedgerRead,
                P::ReportsRead,
                P::LoanProductsRead,
                P::LoansRead,
                P::LoansApprove,
                P::LoansWriteOff,
                P::SagasRead,
            ],
            Self::Auditor => &[
                P::MembersRead,
                P::AccountsRead,
                P::BalancesRead,
                P::TransactionsRead,
                P::LedgerRead,
                P::ReportsRead,
                P::LoanProductsRead,
                P::LoansRead,
                P::SagasRead,
                P::EventsRead,
                P::ProjectionsRead,
            ],
            Self::Analyst => &[
                P::MembersRead,
                P::AccountsRead,
                P::BalancesRead,
                P::TransactionsRead,
                P::LedgerRead,
                P::ReportsRead,
                P::LoanProductsRead,
                P::LoansRead,
            ],
            Self::Admin => &[
                P::AccountsOpen,
                P::LedgerRead,
                P::LedgerWrite,
                P::PeriodsWrite,
                P::LoanProductsRead,
                P::LoanProductsWrite,
                P::SagasRead,
                P::SagasManage,
                P::ProjectionsRead,
            ],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names: Vec<&str> = Self::ALL.iter().map(|role| role.name()).collect();
        Self::named(name).ok_or_else(|| format!("one of {} is needed", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Permission, Role};

    /// The table as docs/permissions.md shows it.
    fn table() -> String {
        let heads: String = Role::ALL.iter().map(|role| format!(" {role} |")).collect();
        let rules = " --- |".repeat(Role::ALL.len() + 2);
        let mut text = format!("| permission | allows |{heads}\n|{rules}\n");
        for permission in Permission::ALL {
            text += &format!("| `{permission}` | {} |", permission.meaning());
            for role in Role::ALL {
                text += if role.permissions().contains(permission) { " ● |" } else { " |" };
            }
            text.push('\n');
        }
        text
    }

    #[test]
    fn the_documented_table_is_the_one_in_force() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/permissions.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once("<!-- table -->\n").unwrap();
        let (shown, after) = rest.split_once("<!-- end -->").unwrap();
        if std::env::var_os("DAYBOOK_TEST_UPDATE_PERMISSIONS").is_some() {
            let page = format!("{before}<!-- table -->\n{}<!-- end -->{after}", table());
            std::fs::write(&path, page).unwrap();
            return;
        }
        assert_eq!(
            shown,
            table(),
            "DAYBOOK_TEST_UPDATE_PERMISSIONS=1 cargo test -p platform permission writes docs/permissions.md"
        );
    }

    #[test]
    fn names_are_noun_and_verb_and_each_is_given_to_somebody_once() {
        let mut names: Vec<_> = Permission::ALL.iter().map(|permission| permission.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Permission::ALL.len());
        for permission in Permission::ALL {
            let (noun, verb) = permission.name().split_once(':').unwrap();
            assert!(!noun.is_empty() && !verb.is_empty());
            assert!(Role::ALL.iter().any(|role| role.permissions().contains(permission)), "{permission}");
        }
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(*role));
            let mut permissions = role.permissions().to_vec();
            assert!(permissions.is_sorted(), "{role}: in the order of the table");
            permissions.dedup();
            assert_eq!(permissions.len(), role.permissions().len(), "{role}");
        }
    }

    #[test]
    fn duties_are_separate() {
        let has = |role: &Role, permission| role.permissions().contains(&permission);
        for role in Role::ALL {
            assert!(!(has(role, Permission::LoansApply) && has(role, Permission::LoansApprove)), "{role}");
            assert!(!(has(role, Permission::LoansDisburse) && has(role, Permission::LoansApprove)), "{role}");
            let reads = has(role, Permission::AccountsRead) || has(role, Permission::TransactionsRead);
            assert!(!reads || has(role, Permission::BalancesRead), "{role}");
        }
        // Where money goes is for those who answer for members and loans, not for who runs the platform.
        for permission in [Permission::LoansCharge, Permission::PaymentsMatch] {
            let having: Vec<_> = Role::ALL.iter().filter(|role| has(role, permission)).collect();
            assert_eq!(having, [&Role::Officer], "{permission}");
        }
        for role in [Role::Auditor, Role::Analyst] {
            assert!(role.permissions().iter().all(|permission| permission.name().ends_with(":read")), "{role}");
        }
    }
}
