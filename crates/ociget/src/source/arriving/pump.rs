//! Reads an archive on, and knows its members.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::arrival::{Arrival, Body, Use};
use super::plan::{Attached, FoundMember, Plan};
use crate::digest::Digest;
use crate::source::piece::Piece;
use crate::source::tar_headers::{Found, Headers, Member};
use crate::source::tar_index::{MAX_HEADERS, Members, comparable, repeated};

/// Bytes after which another reader gets its turn.
const TURN: u64 = 4 << 20;

/// How an attempt to do something ended that did not fail.
pub(super) enum Step<T> {
    Done(T),
    /// There is more to do, and others may want a turn.
    Again,
    /// Not before the member that is not kept is over.
    Later,
}

#[derive(Debug)]
pub(super) struct Pump {
    arrival: Arrival,
    headers: Headers,
    members: Members,
    is_at_end: bool,
    plan: Option<Plan>,
    /// Nothing is needed any more.
    is_finishing: bool,
    /// The reader of the member that is not kept, once there is one.
    attached: Option<Weak<Attached>>,
    /// What was given to that reader last. If it did not wait for the answer it asks again.
    last: Option<(u64, Bytes)>,
    moved: Arc<Notify>,
    failure: Option<Arc<io::Error>>,
}

impl Pump {
    pub(super) fn new(arrival: Arrival, moved: Arc<Notify>) -> Self {
        Self {
            arrival,
            headers: Headers::new(MAX_HEADERS),
            members: Members::default(),
            is_at_end: false,
            plan: None,
            is_finishing: false,
            attached: None,
            last: None,
            moved,
            failure: None,
        }
    }

    /// Does `step`. An archive that failed once fails from then on.
    pub(super) fn attempt<T>(
        &mut self,
        step: impl Fn(&mut Self) -> io::Result<Step<T>>,
    ) -> io::Result<Step<T>> {
        if let Some(failure) = &self.failure {
            return Err(again(failure));
        }
        step(self).map_err(|error| {
            self.moved.notify_waiters();
            again(self.failure.insert(Arc::new(error)))
        })
    }

    pub(super) fn plan(&mut self, plan: Plan) {
        let mut plan = plan;
        for name in plan.needed.clone() {
            plan.needed.insert(self.members.target(&name).to_owned());
        }
        self.plan = Some(plan);
        self.attached = None;
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.members.names().map(str::to_owned).collect()
    }

    /// The number of bytes that have come.
    pub(super) fn length(&self) -> u64 {
        self.arrival.arrived()
    }

    pub(super) fn target<'a>(&'a self, name: &'a str) -> &'a str {
        self.members.target(name)
    }

    pub(super) fn find(&mut self, name: &str) -> io::Result<Step<Option<FoundMember>>> {
        loop {
            if let Some(pieces) = self.members.find(name) {
                let found = FoundMember {
                    pieces: Arc::clone(pieces),
                    attached: self.attach(name),
                };
                return Ok(Step::Done(Some(found)));
            }
            if self.is_at_end {
                return Ok(Step::Done(None));
            }
            if let Some(other) = self.advance()? {
                return Ok(other);
            }
        }
    }

    /// The token for the reader of the member that is not kept, if `name` is that.
    fn attach(&mut self, name: &str) -> Option<Arc<Attached>> {
        let once = self.plan.as_ref()?.once.as_deref()?;
        if self.members.target(name) != once {
            return None;
        }
        match &self.attached {
            Some(attached) => attached.upgrade(),
            None => {
                let attached = Arc::new(Attached(Arc::clone(&self.moved)));
                self.attached = Some(Arc::downgrade(&attached));
                Some(attached)
            }
        }
    }

    /// Goes on to the next header, or a part of the way there. `None` if it was reached.
    fn advance<T>(&mut self) -> io::Result<Option<Step<T>>> {
        self.decide();
        if self.waits_for_reader() {
            return Ok(Some(Step::Later));
        }
        if let Some(end) = self.arrival.body.as_ref().map(|body| body.end) {
            let turn = self.arrival.position.saturating_add(TURN);
            self.arrival.pass_to(end.min(turn))?;
            if end > turn {
                return Ok(Some(Step::Again));
            }
        }
        let Some(found) = self.headers.next(&mut self.arrival)? else {
            self.is_at_end = true;
            self.arrival.body = None;
            return Ok(None);
        };
        self.add(found)?;
        Ok(None)
    }

    fn add(&mut self, found: Found) -> io::Result<()> {
        let Found {
            at,
            name,
            member,
            end,
        } = found;
        let mut its_use = Use::Nothing;
        let shown = name.clone().unwrap_or_default();
        if let (Some(name), Some(member)) = (name, member) {
            match self.members.get(&name) {
                None => {
                    if matches!(member, Member::File(_)) {
                        its_use = Use::Undecided;
                    }
                    self.members.add(name, member, at)?;
                }
                Some(there) => its_use = self.compare(there, &member, at)?,
            }
        }
        let start = self.arrival.position;
        if start >= end {
            its_use = Use::Nothing;
        }
        self.arrival.body = Some(Body {
            at,
            start,
            end,
            name: shown,
            its_use,
        });
        Ok(())
    }

    /// Compares a member with an earlier one of the same name.
    fn compare(&self, there: &Member, member: &Member, at: u64) -> io::Result<Use> {
        let Some((first, _, length)) = comparable(there, member) else {
            return match matches!(there, Member::Link(_)) && there == member {
                true => Ok(Use::Nothing),
                false => Err(repeated(at)),
            };
        };
        Ok(match self.arrival.hash_of(first) {
            _ if length == 0 => Use::Nothing,
            Some(hash) => Use::Hashed(Arrival::hasher(), hash.clone()),
            None => Use::SameAs(first),
        })
    }

    /// Decides about the body that comes, before a byte of it is read.
    fn decide(&mut self) {
        let Some(body) = &self.arrival.body else {
            return;
        };
        if !matches!(body.its_use, Use::Undecided) {
            return;
        }
        let is_once = |plan: &Plan| plan.once.as_ref() == Some(&body.name);
        let its_use = match &self.plan {
            _ if self.is_finishing => Use::Passed(Arrival::hasher()),
            Some(plan) if is_once(plan) && self.is_one_piece(&body.name) => {
                Use::Direct(Arrival::hasher())
            }
            Some(plan) if is_blob(&body.name) && !plan.needed.contains(&body.name) => {
                Use::Passed(Arrival::hasher())
            }
            _ => Use::Kept,
        };
        self.arrival.set_use(its_use);
    }

    fn is_one_piece(&self, name: &str) -> bool {
        let pieces = self.members.find(name);
        pieces.is_some_and(|pieces| matches!(**pieces, [Piece::Data { .. }]))
    }

    /// Whether what comes now is for a reader that exists, or is still to come.
    fn waits_for_reader(&mut self) -> bool {
        let Some(body) = &mut self.arrival.body else {
            return false;
        };
        if !matches!(body.its_use, Use::Direct(_)) {
            return false;
        }
        let is_gone = |attached: &Weak<Attached>| attached.strong_count() == 0;
        let abandoned = self.attached.as_ref().is_some_and(is_gone);
        !(abandoned || self.is_finishing)
    }

    pub(super) fn read(&mut self, offset: u64, size: usize) -> io::Result<Step<Bytes>> {
        if let Some((at, bytes)) = &self.last
            && *at == offset
        {
            return Ok(Step::Done(bytes.clone()));
        }
        if offset >= self.arrival.position {
            self.decide();
            let is_direct = |body: &Body| matches!(body.its_use, Use::Direct(_));
            if self.arrival.body.as_ref().is_some_and(is_direct) && offset == self.arrival.position
            {
                let bytes = self.arrival.direct(size)?;
                self.last = Some((offset, bytes.clone()));
                return Ok(Step::Done(bytes));
            }
            let length = u64::try_from(size).unwrap_or(u64::MAX);
            self.arrival.pass_to(offset.saturating_add(length))?;
        }
        Ok(Step::Done(self.arrival.kept(offset, size)?))
    }

    pub(super) fn peek(&mut self, offset: u64, size: usize) -> io::Result<Step<Bytes>> {
        if offset == self.arrival.position {
            return Ok(Step::Done(self.arrival.peek(size)?));
        }
        self.read(offset, size)
    }

    pub(super) fn finish(&mut self) -> io::Result<Step<()>> {
        self.is_finishing = true;
        while !self.is_at_end {
            if let Some(other) = self.advance()? {
                return Ok(other);
            }
        }
        self.arrival.pass_to_end()?;
        Ok(Step::Done(()))
    }
}

/// An error that each reader gets.
#[derive(Debug)]
struct Shared(Arc<io::Error>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The error itself, so that its owner recognizes it.
        Some(&*self.0)
    }
}

fn again(failure: &Arc<io::Error>) -> io::Error {
    io::Error::new(failure.kind(), Shared(Arc::clone(failure)))
}

/// Whether a member is a blob of a layout, whose name is its digest.
fn is_blob(name: &str) -> bool {
    let mut parts = name.split('/');
    let (blobs, algorithm, hex) = (parts.next(), parts.next(), parts.next());
    let hex = hex.unwrap_or_default();
    blobs == Some("blobs")
        && parts.next().is_none()
        && algorithm.is_some_and(|algorithm| format!("{algorithm}:{hex}").parse::<Digest>().is_ok())
}
