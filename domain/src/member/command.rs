//! What may be asked about a member.

use std::collections::BTreeMap;

use crate::book::{Missing, Reservation, ReservationKind};
use crate::ids::MemberId;
use crate::member::MemberKind;
use crate::words::{Branch, Number, ReasonCode, Sealed};

/// A command on a member.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the fields are those of the events
pub enum MemberCommand {
    /// Register a member; the KYC check is pending then.
    RegisterMember {
        member_id: MemberId,
        number: Number,
        kind: MemberKind,
        /// Personal data by field, sealed before it came here.
        personal: BTreeMap<String, Sealed>,
        branch: Option<Branch>,
    },
    /// The KYC check has passed.
    VerifyKyc { member_id: MemberId },
    /// The KYC check has failed.
    RejectKyc { member_id: MemberId, reason: ReasonCode },
    /// Suspend an active member.
    SuspendMember { member_id: MemberId, reason: ReasonCode },
    /// Make a suspended or inactive member active again.
    ReactivateMember { member_id: MemberId },
    /// Mark an active member as inactive.
    DeactivateMember { member_id: MemberId, reason: ReasonCode },
}

impl MemberCommand {
    /// The name of the command.
    pub fn name(&self) -> &'static str {
        match self {
            MemberCommand::RegisterMember { .. } => "RegisterMember",
            MemberCommand::VerifyKyc { .. } => "VerifyKyc",
            MemberCommand::RejectKyc { .. } => "RejectKyc",
            MemberCommand::SuspendMember { .. } => "SuspendMember",
            MemberCommand::ReactivateMember { .. } => "ReactivateMember",
            MemberCommand::DeactivateMember { .. } => "DeactivateMember",
        }
    }

    /// The member that the command is about.
    pub fn target(&self) -> MemberId {
        match self {
            MemberCommand::RegisterMember { member_id, .. }
            | MemberCommand::VerifyKyc { member_id }
            | MemberCommand::RejectKyc { member_id, .. }
            | MemberCommand::SuspendMember { member_id, .. }
            | MemberCommand::ReactivateMember { member_id }
            | MemberCommand::DeactivateMember { member_id, .. } => *member_id,
        }
    }

    pub(crate) fn needs(&self, needs: &mut Vec<Missing>) {
        if let MemberCommand::RegisterMember { number, .. } = self {
            needs.push(Missing::Reservation(Reservation::new(ReservationKind::MemberNumber, number.as_str())));
        }
    }
}
