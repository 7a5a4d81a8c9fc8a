//! ARP: requests for a service address are answered, claims to one are dropped.

use mezame_ebpf_loader::{SERVICE_MAC, Verdict};

use super::{Fate, Model, Outside, address, word};

impl Model {
    pub(super) fn arp(&self, outside: &Outside<'_>) -> Fate {
        let arp = outside.packet;
        if arp.len() < 28 || arp[2..6] != [8, 0, 6, 4] {
            return Fate::Pass;
        }
        let (sender, target) = (address(arp, 14).unwrap(), address(arp, 24).unwrap());
        if self.is_service(sender) {
            return Fate::Drop(Verdict::ArpClaim);
        }
        if word(arp, 0) != Some(1) || !self.is_service(target) {
            return Fate::Pass;
        }
        if let Some(verdict) = self.fault_outside(outside) {
            return Fate::Drop(verdict);
        }
        if arp[8..14] != self.rules.mac {
            return Fate::Drop(Verdict::WrongMac);
        }
        if word(arp, 6) != Some(1) {
            return Fate::Drop(Verdict::Malformed);
        }
        if !sender.is_unspecified() && !self.may_use(sender) {
            return Fate::Drop(Verdict::SpoofedSource);
        }
        Fate::AnswerArp
    }
}

/// The answer to an ARP request, its padding kept.
pub(super) fn answer(request: &[u8]) -> Vec<u8> {
    let mut answer = request.to_vec();
    answer[..6].copy_from_slice(&request[22..28]);
    answer[6..12].copy_from_slice(&SERVICE_MAC);
    answer[21] = 2;
    answer[22..28].copy_from_slice(&SERVICE_MAC);
    answer[28..32].copy_from_slice(&request[38..42]);
    answer[32..38].copy_from_slice(&request[22..28]);
    answer[38..42].copy_from_slice(&request[28..32]);
    answer
}
