//! What became true of a member. Personal data is sealed from the first event on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::{Branch, Number, ReasonCode, Sealed};

/// What a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberKind {
    /// A natural person.
    #[default]
    Person,
    /// A group that saves and borrows jointly.
    Group,
    /// A business.
    Business,
}

/// An event of a member's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum MemberEvent {
    /// The member was registered; the KYC check is pending.
    MemberRegistered {
        /// The number by which people know the member; unique.
        number: Number,
        /// Person, group or business.
        kind: MemberKind,
        /// Personal data by field name, each sealed under the member's key.
        personal: BTreeMap<String, Sealed>,
        /// The branch that serves the member.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<Branch>,
    },
    /// The KYC check has passed.
    KycVerified {},
    /// The KYC check has failed.
    KycRejected {
        /// Why, as a code.
        reason: ReasonCode,
    },
    /// The member was suspended.
    MemberSuspended {
        /// Why, as a code.
        reason: ReasonCode,
    },
    /// The member is active again.
    MemberReactivated {},
    /// The member is inactive.
    MemberDeactivated {
        /// Why, as a code.
        reason: ReasonCode,
    },
}
