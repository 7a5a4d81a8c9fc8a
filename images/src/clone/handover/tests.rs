//! A model of QEMU, its guest and the two volumes, and a stop at each step.

use super::*;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// The plain volume can't be flushed.
    Flush,
    /// QEMU refuses to complete the job.
    Refusal,
    /// The job fails while it goes over.
    Job,
    /// The job takes a while before it goes over.
    Slow,
}

/// The world, and how many writes each volume has.
#[derive(Debug, Clone)]
struct World {
    stage: Stage,
    is_held: bool,
    job: Job,
    guest: Guest,
    fault: Fault,
    writes: u32,
    overlay: u32,
    plain: u32,
    /// Whether the job was asked to complete, and how often it was looked at since.
    is_asked: bool,
    waits: u32,
}

/// One process of ours.
#[derive(Debug, Clone, Copy, Default)]
struct Process {
    is_asked: bool,
    has_fault: bool,
}

impl World {
    fn new(guest: Guest, fault: Fault) -> Self {
        let job = Job::Equal;
        Self {
            stage: Stage::Overlay,
            is_held: false,
            job,
            guest,
            fault,
            writes: 0,
            overlay: 0,
            plain: 0,
            is_asked: false,
            waits: 0,
        }
    }

    /// The guest writes, if it runs; the job goes on.
    fn pass(&mut self) {
        if self.is_asked && self.job == Job::Equal {
            self.waits += 1;
            if self.waits > 3 {
                self.job = Job::Finishing;
            }
        }
        if self.job == Job::Finishing {
            self.job = if self.fault == Fault::Job { Job::Failed } else { Job::Done };
        }
        if self.guest == Guest::Stopped {
            return;
        }
        self.writes += 1;
        match self.job {
            Job::Equal | Job::Finishing => {
                self.overlay += 1;
                self.plain += 1;
            }
            Job::Failed | Job::Copying => self.overlay += 1,
            Job::Done | Job::None => self.plain += 1,
        }
    }

    fn decide(&self, process: Process) -> Step {
        next(&Seen {
            stage: &self.stage,
            is_held: self.is_held,
            job: self.job,
            guest: self.guest,
            is_asked: process.is_asked,
            has_fault: process.has_fault,
        })
    }

    fn take(&mut self, step: Step, process: &mut Process) {
        let place = Place::File("/plain".into());
        match step {
            Step::Hold => self.is_held = true,
            Step::Stop => self.guest = Guest::Stopped,
            Step::HandOver if self.fault == Fault::Flush => process.has_fault = true,
            Step::HandOver => self.stage = Stage::HandingOver(place),
            Step::Complete if self.fault == Fault::Refusal => process.has_fault = true,
            Step::Complete => {
                self.is_asked = true;
                if self.fault != Fault::Slow {
                    self.job = Job::Finishing;
                }
                process.is_asked = true;
            }
            Step::Wait | Step::End | Step::GiveUp => {}
            Step::GoOver => self.stage = Stage::Plain(place),
            Step::GoBack => self.stage = Stage::Overlay,
            Step::Continue => self.guest = Guest::Running,
            Step::Release => self.is_held = false,
            Step::Tidy => self.job = Job::None,
        }
    }

    /// What a guest finds that is started after QEMU was killed.
    fn found(&self) -> u32 {
        if self.stage.plain().is_some() { self.plain } else { self.overlay }
    }

    /// Goes on to the end; the steps that were taken. Our process is killed after so many, and
    /// another one is started.
    fn run(&mut self, killed_after: usize) -> Vec<Step> {
        self.run_until(killed_after, ALL)
    }

    /// The same; our time is up after so many steps.
    fn run_until(&mut self, killed_after: usize, late_after: usize) -> Vec<Step> {
        let mut process = Process::default();
        let mut taken = Vec::new();
        loop {
            self.pass();
            assert!(taken.len() < 40, "no end: {taken:?}");
            if taken.len() == killed_after {
                process = Process::default();
            }
            process.has_fault |= taken.len() >= late_after;
            let step = self.decide(process);
            taken.push(step);
            self.take(step, &mut process);
            // The next write comes at any moment, a stop of QEMU too.
            assert_eq!(self.found(), self.writes, "a stop after {taken:?} loses writes: {self:?}");
            if matches!(step, Step::End | Step::GiveUp) {
                return taken;
            }
        }
    }
}

const ALL: usize = usize::MAX;

#[test]
fn a_running_guest_is_handed_over_while_it_stands_still_and_goes_on() {
    let mut world = World::new(Guest::Running, Fault::Nothing);
    let steps = world.run(ALL);
    let expected = [
        Step::Hold,
        Step::Stop,
        Step::HandOver,
        Step::Complete,
        Step::GoOver,
        Step::Continue,
        Step::Release,
        Step::Tidy,
        Step::End,
    ];
    assert_eq!(steps, expected);
    assert_eq!((world.guest, world.is_held), (Guest::Running, false));
}

#[test]
fn a_guest_that_stood_still_before_is_not_let_go_and_a_daemon_has_none_to_stop() {
    for guest in [Guest::Stopped, Guest::None] {
        let mut world = World::new(guest, Fault::Nothing);
        let steps = world.run(ALL);
        let expected = [Step::HandOver, Step::Complete, Step::GoOver, Step::Tidy, Step::End];
        assert_eq!(steps, expected, "{guest:?}");
        assert_eq!(world.guest, guest);
    }
}

#[test]
fn a_fault_leads_back_to_the_overlay_and_the_guest_goes_on() {
    for fault in [Fault::Flush, Fault::Refusal, Fault::Job] {
        let mut world = World::new(Guest::Running, fault);
        let steps = world.run(ALL);
        assert_eq!(steps.last(), Some(&Step::GiveUp), "{fault:?}");
        assert_eq!(world.stage, Stage::Overlay, "{fault:?}: {steps:?}");
        assert_eq!((world.guest, world.is_held), (Guest::Running, false), "{fault:?}: {steps:?}");
    }
}

#[test]
fn a_process_that_is_killed_at_any_step_is_followed_by_one_that_ends_it() {
    for fault in [Fault::Nothing, Fault::Flush, Fault::Refusal, Fault::Job] {
        for guest in [Guest::Running, Guest::Stopped] {
            for killed_after in 1..12 {
                let mut world = World::new(guest, fault);
                let steps = world.run(killed_after);
                let is_plain = matches!(world.stage, Stage::Plain(_));
                assert_eq!(is_plain, fault == Fault::Nothing, "{steps:?}");
                assert_eq!((world.guest, world.is_held), (guest, false), "{steps:?}");
            }
        }
    }
}

#[test]
fn a_job_that_is_not_equal_or_is_gone_changes_nothing() {
    for job in [Job::None, Job::Copying, Job::Failed] {
        let mut world = World { job, ..World::new(Guest::Stopped, Fault::Nothing) };
        assert_eq!(world.run(ALL), [Step::GiveUp], "{job:?}");
        // Held by a process that was killed before it stopped the guest, or after.
        for (guest, expected) in [
            (Guest::Running, &[Step::Release, Step::GiveUp][..]),
            (Guest::Stopped, &[Step::Continue, Step::Release, Step::GiveUp]),
        ] {
            let mut world = World { job, is_held: true, ..World::new(guest, Fault::Nothing) };
            if job == Job::None {
                // The model has no writes into a volume that nobody knows.
                assert_eq!(world.decide(Process::default()), expected[0]);
                continue;
            }
            assert_eq!(world.run(ALL), expected, "{job:?}");
        }
    }
}

#[test]
fn a_guest_goes_on_whenever_the_time_is_up() {
    for fault in [Fault::Nothing, Fault::Slow] {
        for late_after in 1..16 {
            let mut world = World::new(Guest::Running, fault);
            let steps = world.run_until(ALL, late_after);
            assert_eq!((world.guest, world.is_held), (Guest::Running, false), "{steps:?}");
            // What was asked to complete is not taken back.
            let is_plain = matches!(world.stage, Stage::Plain(_));
            assert_eq!(is_plain, steps.contains(&Step::Complete), "{steps:?}");
        }
    }
}
