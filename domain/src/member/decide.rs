//! The rules of members.

use crate::book::{Book, Context, Plan, Reservation, ReservationKind, Stop};
use crate::ids::MemberId;
use crate::member::{Kyc, Member, MemberCommand, MemberEvent, MemberStatus};
use crate::rejection::Rejection;

/// Decides a command on a member.
pub fn decide(command: &MemberCommand, book: &impl Book, _context: &Context) -> Result<Plan, Stop> {
    let member_id = command.target();
    let stream = member_id.stream();
    let event = match command {
        MemberCommand::RegisterMember { number, kind, personal, branch, .. } => {
            if book.member(member_id)?.is_some() {
                return Err(Rejection::IdTaken { stream }.into());
            }
            let reservation = Reservation::new(ReservationKind::MemberNumber, number.as_str());
            if book.is_reserved(&reservation)? {
                return Err(Rejection::MemberNumberTaken.into());
            }
            let event = MemberEvent::MemberRegistered {
                number: number.clone(),
                kind: *kind,
                personal: personal.clone(),
                branch: branch.clone(),
            };
            return Ok(Plan::one(stream, event).creating().reserving(reservation));
        }
        MemberCommand::VerifyKyc { .. } => {
            pending_kyc(book, member_id)?;
            MemberEvent::KycVerified {}
        }
        MemberCommand::RejectKyc { reason, .. } => {
            pending_kyc(book, member_id)?;
            MemberEvent::KycRejected { reason: reason.clone() }
        }
        MemberCommand::SuspendMember { reason, .. } => {
            active(book, member_id)?;
            MemberEvent::MemberSuspended { reason: reason.clone() }
        }
        MemberCommand::ReactivateMember { .. } => {
            match existing(book, member_id)?.status {
                MemberStatus::Active => return Err(Rejection::MemberActive { member_id }.into()),
                MemberStatus::Inactive | MemberStatus::Suspended => {}
            }
            MemberEvent::MemberReactivated {}
        }
        MemberCommand::DeactivateMember { reason, .. } => {
            active(book, member_id)?;
            MemberEvent::MemberDeactivated { reason: reason.clone() }
        }
    };
    Ok(Plan::one(stream, event))
}

/// The member, or the rejection that there is none.
pub(crate) fn existing(book: &impl Book, member_id: MemberId) -> Result<&Member, Stop> {
    book.member(member_id)?.ok_or_else(|| Rejection::MemberNotFound { member_id }.into())
}

/// The member, who must be active.
pub(crate) fn active(book: &impl Book, member_id: MemberId) -> Result<&Member, Stop> {
    let member = existing(book, member_id)?;
    match member.status {
        MemberStatus::Active => Ok(member),
        MemberStatus::Inactive | MemberStatus::Suspended => Err(Rejection::MemberNotActive { member_id }.into()),
    }
}

fn pending_kyc(book: &impl Book, member_id: MemberId) -> Result<(), Stop> {
    match existing(book, member_id)?.kyc {
        Kyc::Pending => Ok(()),
        Kyc::Verified | Kyc::Rejected => Err(Rejection::KycNotPending { member_id }.into()),
    }
}
