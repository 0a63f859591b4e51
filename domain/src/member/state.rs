//! The fold of a member's events.

use serde::{Deserialize, Serialize};

use crate::member::{MemberEvent, MemberKind};

/// Where the KYC check stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kyc {
    /// Not decided.
    #[default]
    Pending,
    /// Passed.
    Verified,
    /// Failed.
    Rejected,
}

/// Whether a member may do business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberStatus {
    /// Yes.
    #[default]
    Active,
    /// Not at present, by the member's own wish or for lack of activity.
    Inactive,
    /// Not at present, by the institution's decision.
    Suspended,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Person, group or business.
    pub kind: MemberKind,
    /// Where the KYC check stands.
    pub kyc: Kyc,
    /// Whether the member may do business.
    pub status: MemberStatus,
}

impl Member {
    /// Applies an event.
    pub fn fold(&mut self, event: &MemberEvent) {
        match event {
            MemberEvent::MemberRegistered { kind, .. } => self.kind = *kind,
            MemberEvent::KycVerified {} => self.kyc = Kyc::Verified,
            MemberEvent::KycRejected { .. } => self.kyc = Kyc::Rejected,
            MemberEvent::MemberSuspended { .. } => self.status = MemberStatus::Suspended,
            MemberEvent::MemberReactivated {} => self.status = MemberStatus::Active,
            MemberEvent::MemberDeactivated { .. } => self.status = MemberStatus::Inactive,
        }
    }
}
