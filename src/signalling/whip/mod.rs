//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): pure translation; the handlers are in `http` (skeleton).
