//! Lists, hashes, sets and sorted sets, wherever the database is. Every change is one commit, every read one snapshot.

use crate::error::ClientError;
use crate::{Backend, Client};
use bytes::Bytes;
use hyper::Method;
use orchard_wire::Kind;
use orchard_wire::element_json::{self, Shape, Verb};
use orcharddb::collection::{
    Elements, Field, Found, Look, Member, Scored, ScoredMember, Step, Stepped, ZPage,
};
use orcharddb::{Expiry, IntoKey, Key, LimitError, Value, limits};
use std::ops::Bound;

/// A collection of one kind at a key.
#[derive(Clone, Debug)]
struct Collection {
    client: Client,
    shape: Shape,
    key: Key,
}

/// A list.
#[derive(Clone, Debug)]
pub struct ClientList(Collection);

/// A hash.
#[derive(Clone, Debug)]
pub struct ClientHash(Collection);

/// A set.
#[derive(Clone, Debug)]
pub struct ClientSet(Collection);

/// A sorted set.
#[derive(Clone, Debug)]
pub struct ClientZSet(Collection);

impl Collection {
    async fn step(&self, step: Step) -> Result<Stepped, ClientError> {
        LimitError::check("collection_step_elements", limits::COMMIT_OPERATIONS_MAX, step.elements())
            .map_err(orcharddb::Error::from)?;
        match &self.client.backend {
            Backend::Local(db) => {
                let space = self.client.space_for_write(db)?;
                let (outcome, pending) = db.exclusive(|tx| {
                    let outcome = tx.step_in(space, self.key.clone(), &step);
                    if outcome.is_err() {
                        tx.clear();
                    }
                    Ok::<_, orcharddb::Error>(outcome)
                })?;
                pending.await?;
                Ok(outcome?)
            }
            Backend::Remote(remote) => {
                let (verb, body) = element_json::render_step(&step);
                let mut query = remote.query();
                query.add_key("key", &self.key);
                if let (Verb::Append | Verb::Prepend, Step::Append(values) | Step::Prepend(values)) =
                    (verb, &step)
                {
                    query.add("type", values.first().map_or("null", |value| value.value_type.name()));
                }
                let path = query.path(&format!("/v1/{}/{}", self.shape.route(), verb.name()));
                match remote.http.ask(Method::POST, &path, Bytes::from(body)).await {
                    Ok(body) => {
                        element_json::parse_stepped(&body).map_err(|error| remote.http.foreign(error))
                    }
                    Err(ClientError::Refused(problem))
                        if verb.is_pop() && problem.kind == Kind::KeyNotFound =>
                    {
                        Ok(Stepped::default())
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn look(&self, look: Look) -> Result<Found, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => {
                let space = self.client.space_for_read(db)?;
                Ok(db.snapshot().look_in(space, self.key.clone(), &look)?)
            }
            Backend::Remote(remote) => remote.look(self.shape, &self.key, &look, None).await,
        }
    }

    async fn len(&self) -> Result<u64, ClientError> {
        let look = match self.shape {
            Shape::List => Look::Indexes(0, 0),
            Shape::Hash => Look::FieldsAfter(None, 1),
            Shape::Set => Look::MembersAfter(None, 1),
            Shape::ZSet => Look::Ranks(0, 0),
        };
        Ok(self.look(look).await?.length)
    }
}

impl crate::remote::Remote {
    pub(crate) async fn look(
        &self,
        shape: Shape,
        key: &Key,
        look: &Look,
        at: Option<orcharddb::Versionstamp>,
    ) -> Result<Found, ClientError> {
        let mut query = self.query();
        query.add_key("key", key);
        element_json::render_look(look).into_iter().for_each(|pair| query.add_encoded(pair));
        if let Some(at) = at {
            query.add("at", &at.to_string());
        }
        let path = query.path(&format!("/v1/{}", shape.route()));
        let body = self.http.ask(Method::GET, &path, Bytes::new()).await?;
        Ok(element_json::parse_page(shape, &body).map_err(|error| self.http.foreign(error))?.found)
    }
}

fn values(found: Found) -> Vec<Value> {
    if let Elements::Values(values) = found.elements { values } else { Vec::new() }
}

fn fields(found: Found) -> Vec<Field> {
    if let Elements::Fields(fields) = found.elements { fields } else { Vec::new() }
}

fn members(found: Found) -> Vec<Member> {
    if let Elements::Members(members) = found.elements { members } else { Vec::new() }
}

fn names(found: Found) -> Vec<Bytes> {
    members(found).into_iter().map(|member| member.name).collect()
}

fn scored_members(found: Found) -> Vec<ScoredMember> {
    if let Elements::Scored(members) = found.elements { members } else { Vec::new() }
}

fn scored(found: Found) -> Vec<Scored> {
    scored_members(found).into_iter().map(Scored::from).collect()
}

impl Client {
    fn collection(&self, shape: Shape, key: impl IntoKey) -> Result<Collection, ClientError> {
        Ok(Collection { client: self.clone(), shape, key: key.into_key()? })
    }

    /// The list at a key. An absent key is an empty one.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the key is none.
    pub fn list(&self, key: impl IntoKey) -> Result<ClientList, ClientError> {
        self.collection(Shape::List, key).map(ClientList)
    }

    /// The hash at a key. An absent key is an empty one.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the key is none.
    pub fn hash(&self, key: impl IntoKey) -> Result<ClientHash, ClientError> {
        self.collection(Shape::Hash, key).map(ClientHash)
    }

    /// The set at a key. An absent key is an empty one.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the key is none.
    pub fn set(&self, key: impl IntoKey) -> Result<ClientSet, ClientError> {
        self.collection(Shape::Set, key).map(ClientSet)
    }

    /// The sorted set at a key. An absent key is an empty one.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the key is none.
    pub fn zset(&self, key: impl IntoKey) -> Result<ClientZSet, ClientError> {
        self.collection(Shape::ZSet, key).map(ClientZSet)
    }
}

impl ClientList {
    /// Number of elements.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`WrongType`](Kind::WrongType) if the key holds something else.
    pub async fn len(&self) -> Result<u64, ClientError> {
        self.0.len().await
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`ClientList::len`].
    pub async fn is_empty(&self) -> Result<bool, ClientError> {
        Ok(self.len().await? == 0)
    }

    /// Appends an element; the new length.
    ///
    /// # Errors
    /// As [`ClientList::len`].
    pub async fn append(&self, value: impl Into<Value>) -> Result<u64, ClientError> {
        Ok(self.0.step(Step::Append(vec![value.into()])).await?.length)
    }

    /// Puts an element before the first; the new length.
    ///
    /// # Errors
    /// As [`ClientList::len`].
    pub async fn prepend(&self, value: impl Into<Value>) -> Result<u64, ClientError> {
        Ok(self.0.step(Step::Prepend(vec![value.into()])).await?.length)
    }

    /// Takes the first element out.
    ///
    /// # Errors
    /// As [`ClientList::len`].
    pub async fn pop_first(&self) -> Result<Option<Value>, ClientError> {
        Ok(self.0.step(Step::PopFirst(1)).await?.values.pop())
    }

    /// Takes the last element out.
    ///
    /// # Errors
    /// As [`ClientList::len`].
    pub async fn pop_last(&self) -> Result<Option<Value>, ClientError> {
        Ok(self.0.step(Step::PopLast(1)).await?.values.pop())
    }

    /// The element at an index; negative ones count from the end.
    ///
    /// # Errors
    /// As [`ClientList::len`].
    pub async fn get(&self, index: i64) -> Result<Option<Value>, ClientError> {
        // An index before the first is none; a range would begin with the first.
        let found = self.0.look(Look::Indexes(index, index)).await?;
        if index < 0 && index.unsigned_abs() > found.length {
            return Ok(None);
        }
        Ok(values(found).pop())
    }

    /// The elements `start..=stop`, at most 10,000; negative indexes count from the end.
    ///
    /// # Errors
    /// As [`ClientList::len`].
    pub async fn range(&self, start: i64, stop: i64) -> Result<Vec<Value>, ClientError> {
        Ok(values(self.0.look(Look::Indexes(start, stop)).await?))
    }
}

impl ClientHash {
    /// Number of fields.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`WrongType`](Kind::WrongType) if the key holds something else.
    pub async fn len(&self) -> Result<u64, ClientError> {
        self.0.len().await
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn is_empty(&self) -> Result<bool, ClientError> {
        Ok(self.len().await? == 0)
    }

    /// The value of a field.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn get(&self, field: impl Into<Bytes>) -> Result<Option<Value>, ClientError> {
        Ok(self.get_many([field.into()]).await?.pop().map(|field| field.value))
    }

    /// Those of these fields that are there.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn get_many(
        &self,
        fields_wanted: impl IntoIterator<Item = Bytes>,
    ) -> Result<Vec<Field>, ClientError> {
        let wanted: Vec<Bytes> = fields_wanted.into_iter().collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        Ok(fields(self.0.look(Look::Fields(wanted)).await?))
    }

    /// At most `limit` fields behind one, in the order of their names. Going on behind the last one of a page until one is
    /// empty shows every field that stays. A page may be short where values are large.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn page(&self, after: Option<Bytes>, limit: usize) -> Result<Vec<Field>, ClientError> {
        Ok(fields(self.0.look(Look::FieldsAfter(after, limit)).await?))
    }

    /// Writes a field; whether it is new.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn set(&self, field: impl Into<Bytes>, value: impl Into<Value>) -> Result<bool, ClientError> {
        Ok(self.extend([(field.into(), value.into())]).await? == 1)
    }

    /// Writes fields, at most 10,000; how many are new.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn extend(&self, fields: impl IntoIterator<Item = (Bytes, Value)>) -> Result<u64, ClientError> {
        let fields = fields.into_iter().map(|(name, value)| (name, value, Expiry::Never));
        Ok(self.0.step(Step::SetFields(fields.collect())).await?.changed)
    }

    /// Writes a field that expires of its own; whether it is new.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn set_expiring(
        &self,
        field: impl Into<Bytes>,
        value: impl Into<Value>,
        expiry: Expiry,
    ) -> Result<bool, ClientError> {
        let fields = vec![(field.into(), value.into(), expiry)];
        Ok(self.0.step(Step::SetFields(fields)).await?.changed == 1)
    }

    /// Gives fields that are there another expiry, or none of their own ([`Expiry::Never`]); how many are there.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn expire(
        &self,
        fields: impl IntoIterator<Item = Bytes>,
        expiry: Expiry,
    ) -> Result<u64, ClientError> {
        Ok(self.0.step(Step::ExpireFields(fields.into_iter().collect(), expiry)).await?.changed)
    }

    /// Removes fields; how many there were.
    ///
    /// # Errors
    /// As [`ClientHash::len`].
    pub async fn remove(&self, fields: impl IntoIterator<Item = Bytes>) -> Result<u64, ClientError> {
        Ok(self.0.step(Step::DeleteFields(fields.into_iter().collect())).await?.changed)
    }

    /// Adds to the number in a field (an absent one is zero), and gives what it came to.
    ///
    /// # Errors
    /// As [`ClientHash::len`]; of kind `WrongType` or `Overflow` if the numbers cannot be added.
    pub async fn sum(&self, field: impl Into<Bytes>, by: impl Into<Value>) -> Result<Value, ClientError> {
        let stepped = self.0.step(Step::SumField(field.into(), by.into())).await?;
        Ok(stepped.values.into_iter().next().unwrap_or_default())
    }
}

impl ClientSet {
    /// Number of members.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`WrongType`](Kind::WrongType) if the key holds something else.
    pub async fn len(&self) -> Result<u64, ClientError> {
        self.0.len().await
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn is_empty(&self) -> Result<bool, ClientError> {
        Ok(self.len().await? == 0)
    }

    /// Whether a name is a member.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn contains(&self, name: impl Into<Bytes>) -> Result<bool, ClientError> {
        Ok(!self.which([name.into()]).await?.is_empty())
    }

    /// Those of these names that are members.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn which(&self, of: impl IntoIterator<Item = Bytes>) -> Result<Vec<Bytes>, ClientError> {
        let of: Vec<Bytes> = of.into_iter().collect();
        if of.is_empty() {
            return Ok(Vec::new());
        }
        Ok(names(self.0.look(Look::Members(of)).await?))
    }

    /// At most `limit` members behind one, in order. Going on behind the last one of a page until one is empty shows every
    /// member that stays.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn page(&self, after: Option<Bytes>, limit: usize) -> Result<Vec<Bytes>, ClientError> {
        Ok(names(self.0.look(Look::MembersAfter(after, limit)).await?))
    }

    /// Adds members, at most 10,000; how many are new.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn insert(&self, names: impl IntoIterator<Item = Bytes>) -> Result<u64, ClientError> {
        let members = names.into_iter().map(|name| (name, Expiry::Never));
        Ok(self.0.step(Step::AddMembers(members.collect())).await?.changed)
    }

    /// Adds a member that expires of its own; whether it is new.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn insert_expiring(&self, name: impl Into<Bytes>, expiry: Expiry) -> Result<bool, ClientError> {
        Ok(self.0.step(Step::AddMembers(vec![(name.into(), expiry)])).await?.changed == 1)
    }

    /// Gives members another expiry, or none of their own ([`Expiry::Never`]); how many are there.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn expire(
        &self,
        names: impl IntoIterator<Item = Bytes>,
        expiry: Expiry,
    ) -> Result<u64, ClientError> {
        Ok(self.0.step(Step::ExpireMembers(names.into_iter().collect(), expiry)).await?.changed)
    }

    /// Those of these names that are members, with the times at which they expire of their own.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn lifetimes(&self, of: impl IntoIterator<Item = Bytes>) -> Result<Vec<Member>, ClientError> {
        let of: Vec<Bytes> = of.into_iter().collect();
        if of.is_empty() {
            return Ok(Vec::new());
        }
        Ok(members(self.0.look(Look::Members(of)).await?))
    }

    /// Removes members; how many there were.
    ///
    /// # Errors
    /// As [`ClientSet::len`].
    pub async fn remove(&self, names: impl IntoIterator<Item = Bytes>) -> Result<u64, ClientError> {
        Ok(self.0.step(Step::RemoveMembers(names.into_iter().collect())).await?.changed)
    }
}

impl ClientZSet {
    /// Number of members.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`WrongType`](Kind::WrongType) if the key holds something else.
    pub async fn len(&self) -> Result<u64, ClientError> {
        self.0.len().await
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn is_empty(&self) -> Result<bool, ClientError> {
        Ok(self.len().await? == 0)
    }

    /// The score of a member.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn score(&self, name: impl Into<Bytes>) -> Result<Option<f64>, ClientError> {
        Ok(self.scores([name.into()]).await?.pop().map(|(_, score)| score))
    }

    /// The scores of those of these names that are members.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn scores(&self, of: impl IntoIterator<Item = Bytes>) -> Result<Vec<Scored>, ClientError> {
        let of: Vec<Bytes> = of.into_iter().collect();
        if of.is_empty() {
            return Ok(Vec::new());
        }
        Ok(scored(self.0.look(Look::Scores(of)).await?))
    }

    /// The members at ranks `start..=stop`, at most 10,000; negative ranks count from the end.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn range(&self, start: i64, stop: i64) -> Result<Vec<Scored>, ClientError> {
        Ok(scored(self.0.look(Look::Ranks(start, stop)).await?))
    }

    /// Members with scores between two bounds. Going on with `after` the last one of a page until one is empty shows all.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn by_score(&self, page: ZPage<f64>) -> Result<Vec<Scored>, ClientError> {
        Ok(scored(self.0.look(Look::ByScore(page)).await?))
    }

    /// Members with names between two bounds, all members having one score.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn by_name(&self, mut page: ZPage<Bytes>) -> Result<Vec<Scored>, ClientError> {
        if matches!((&page.min, &page.max), (Bound::Unbounded, Bound::Unbounded)) {
            page.min = Bound::Included(Bytes::new());
        }
        Ok(scored(self.0.look(Look::ByName(page)).await?))
    }

    /// Adds members, at most 10,000, or gives them other scores; how many are new.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn insert(&self, members: impl IntoIterator<Item = Scored>) -> Result<u64, ClientError> {
        let members = members.into_iter().map(|(name, score)| (name, score, Expiry::Never));
        Ok(self.0.step(Step::AddScored(members.collect())).await?.changed)
    }

    /// Adds a member that expires of its own, or gives it another score; whether it is new.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn insert_expiring(
        &self,
        name: impl Into<Bytes>,
        score: f64,
        expiry: Expiry,
    ) -> Result<bool, ClientError> {
        Ok(self.0.step(Step::AddScored(vec![(name.into(), score, expiry)])).await?.changed == 1)
    }

    /// Gives members another expiry, or none of their own ([`Expiry::Never`]); how many are there.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn expire(
        &self,
        names: impl IntoIterator<Item = Bytes>,
        expiry: Expiry,
    ) -> Result<u64, ClientError> {
        Ok(self.0.step(Step::ExpireScored(names.into_iter().collect(), expiry)).await?.changed)
    }

    /// Those of these names that are members, with their scores and the times at which they expire of their own.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn lifetimes(
        &self,
        of: impl IntoIterator<Item = Bytes>,
    ) -> Result<Vec<ScoredMember>, ClientError> {
        let of: Vec<Bytes> = of.into_iter().collect();
        if of.is_empty() {
            return Ok(Vec::new());
        }
        Ok(scored_members(self.0.look(Look::Scores(of)).await?))
    }

    /// Removes members; how many there were.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn remove(&self, names: impl IntoIterator<Item = Bytes>) -> Result<u64, ClientError> {
        Ok(self.0.step(Step::RemoveScored(names.into_iter().collect())).await?.changed)
    }

    /// Adds to the score of a member (an absent one has zero), and gives what it came to.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn sum(&self, name: impl Into<Bytes>, by: f64) -> Result<f64, ClientError> {
        let stepped = self.0.step(Step::SumScore(name.into(), by)).await?;
        Ok(stepped.members.first().map_or(by, |(_, score)| *score))
    }

    /// Takes out the member with the lowest score.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn pop_lowest(&self) -> Result<Option<Scored>, ClientError> {
        Ok(self.0.step(Step::PopLowest(1)).await?.members.pop())
    }

    /// Takes out the member with the highest score.
    ///
    /// # Errors
    /// As [`ClientZSet::len`].
    pub async fn pop_highest(&self) -> Result<Option<Scored>, ClientError> {
        Ok(self.0.step(Step::PopHighest(1)).await?.members.pop())
    }
}
