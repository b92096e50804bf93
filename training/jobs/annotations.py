"""What people write beside a training: tags to find it by, and a note."""

from __future__ import annotations

import re

from training.access.audit import Actor, audit
from training.core.values import Refusal
from training.models import Operation

MOST_TAGS, LONGEST_TAG, LONGEST_COMMENT = 10, 30, 4000
TAG = re.compile(r"[\w.+-]{1,30}")


class BadAnnotation(Refusal):
    """Tags or a note that cannot be kept: one sentence."""


def read_tags(text: str) -> list[str]:
    """Words between spaces or commas, each once, in small letters."""
    words = list(dict.fromkeys(text.replace(",", " ").lower().split()))
    if wrong := [word for word in words if not TAG.fullmatch(word)]:
        raise BadAnnotation(f"'{wrong[0][:40]}' cannot be a tag, wanted at most {LONGEST_TAG} letters, digits and . _ + -")
    if len(words) > MOST_TAGS:
        raise BadAnnotation(f"these are {len(words)} tags, wanted at most {MOST_TAGS}")
    return words


def annotate(operation: Operation, tags: str, comment: str, actor: Actor) -> None:
    """Keep tags and note in place of the former ones."""
    comment = comment.replace("\r\n", "\n").strip()
    if len(comment) > LONGEST_COMMENT:
        raise BadAnnotation(f"the note has {len(comment):,} characters, wanted at most {LONGEST_COMMENT:,}")
    if any(ord(letter) < 32 and letter not in "\t\n" for letter in comment):
        raise BadAnnotation("the note has a control character")
    words = read_tags(tags)
    operation.tags, operation.comment = kept(words), comment
    operation.save(update_fields=["tags", "comment"])
    audit(actor, "annotate", operation.pk, tags=" ".join(words))


def kept(words: list[str]) -> str:
    """Each word between spaces, so that a whole word can be looked for."""
    return f" {' '.join(words)} " if words else ""
