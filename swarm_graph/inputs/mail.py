"""Mails (.eml) and saved web pages (.mhtml): headers, the text, and the attachments that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email import policy
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser

from swarm_graph.inputs import html_page
from swarm_graph.inputs.document import Unreadable
from swarm_graph.inputs.encodings import decode
from swarm_graph.inputs.limits import MAX_ATTACHMENTS, MAX_DEPTH
from swarm_graph.inputs.text_writer import TextWriter, clean, listed, one_line

HEADERS = ("From", "To", "Cc", "Date", "Subject")

ReadAttachment = Callable[[bytes, str, TextWriter, int], None]
"""Writes an attachment: its bytes, its name, and how deep it lies in mails."""


def read(data: bytes, writer: TextWriter, depth: int, read_attachment: ReadAttachment) -> None:
    """Write a mail: its headers, its text (plain before HTML), then each attachment below its mark.

    Raises:
        Unreadable: It is no mail, or mails are nested too deep.
    """
    if depth > MAX_DEPTH:
        raise Unreadable(f"lies in more than {MAX_DEPTH} mails")
    try:
        mail = BytesParser(policy=policy.default).parsebytes(data)
        _headers(mail, writer)
        body = mail.get_body(("plain", "html"))
        if body is not None:
            _body(body, writer)
        _attachments(mail, body, writer, depth, read_attachment)
    except (MessageError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"is no valid mail ({clean(str(error))[:100]})") from error


def _headers(mail: EmailMessage, writer: TextWriter) -> None:
    lines = [f"{name}: {one_line(str(mail[name]))}" for name in HEADERS if mail[name]]
    if not lines:
        raise Unreadable("is no mail: it has no headers such as From and Subject")
    writer.paragraph("\n".join(lines))


def _body(body: MIMEPart, writer: TextWriter) -> None:
    data = _content(body)
    if body.get_content_subtype() == "html":
        html_page.write(_text(data, body, writer), writer)
    else:
        writer.paragraph(_text(data, body, writer))


def _text(data: bytes, part: MIMEPart, writer: TextWriter) -> str:
    """The text of a part, by the encoding that it names if that fits."""
    charset = part.get_content_charset()
    try:
        if charset:
            return data.decode(charset)
    except (UnicodeDecodeError, LookupError):
        writer.note(f"the mail says {one_line(charset or '')[:40]}, which does not fit its text")
    decoded = decode(data)
    if decoded.assumed:
        writer.note(decoded.assumed)
    return decoded.text


def _attachments(
    mail: EmailMessage,
    body: MIMEPart | None,
    writer: TextWriter,
    depth: int,
    read_attachment: ReadAttachment,
) -> None:
    """Write the attachments, and name those that cannot be read."""
    left_out = []
    for number, part in enumerate(_others(mail, body), 1):
        if number > MAX_ATTACHMENTS:
            writer.note(f"only the first {MAX_ATTACHMENTS} attachments are read")
            break
        ending = "eml" if part.get_content_type() == "message/rfc822" else part.get_content_subtype()
        name = one_line(part.get_filename() or f"{number}.{ending}")
        if part.get_content_maintype() in ("image", "audio", "video"):
            left_out.append(name)
            continue
        writer.mark("attachment", name)
        try:
            read_attachment(_content(part), name, writer, depth + 1)
        except Unreadable as error:
            writer.paragraph(f"(not read: it {error})")
            writer.note(f"the attachment '{name}' is left out: it {error}")
    if left_out:
        writer.note(f"pictures, sound and films are left out: {listed(left_out)}")


def _others(mail: EmailMessage, body: MIMEPart | None) -> Iterator[MIMEPart]:
    """The parts of a mail but its text, and the other version of its text."""
    pending: list[MIMEPart] = [mail]
    while pending:
        part = pending.pop()
        if part.get_content_type() == "message/rfc822":
            yield part
        elif part.get_content_type() == "multipart/alternative":
            pending += reversed([item for item in _parts(part) if item.get_content_maintype() != "text"])
        elif part.is_multipart():
            pending += reversed(_parts(part))
        elif part is not body and part is not mail and part.get_content_maintype() != "multipart":
            yield part


def _parts(part: MIMEPart) -> list[MIMEPart]:
    return [*part.iter_parts()]


def _content(part: MIMEPart) -> bytes:
    """The bytes of a part, those of a mail for a mail in it."""
    if part.get_content_type() == "message/rfc822":
        return b"".join(item.as_bytes() for item in _parts(part))
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""
