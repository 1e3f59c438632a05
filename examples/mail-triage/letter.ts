import PostalMime from "postal-mime";

/** What of a mail the models get to see, and what its delivery needs. */
export interface Letter {
  from: string;
  subject: string;
  text: string;
  /** How many images hang on it. Nobody reads them yet. */
  images: number;
}

/** Models read this much of a mail and no more. */
const READ_CHARACTERS = 5000;

/** Reads a mail as mail programs do; a mail that is HTML only is read without its tags. */
export async function parseLetter(raw: string): Promise<Letter> {
  // The corpus was taken from mailboxes, whose line between two mails is no header.
  const mail = await PostalMime.parse(raw.replace(/^From .*\n/, ""));
  const text = mail.text?.trim() ? mail.text : withoutTags(mail.html ?? "");
  const from = mail.from?.address ?? "";
  const subject = mail.subject ?? "";
  return {
    from,
    subject,
    text: `${from}\n${subject}\n${text}`.slice(0, READ_CHARACTERS),
    images: mail.attachments.filter(({ mimeType }) => mimeType.startsWith("image/")).length,
  };
}

function withoutTags(html: string): string {
  return html
    .replace(/<(script|style)\b[\s\S]*?<\/\1>/gi, " ")
    .replace(/<[^>]*>/g, " ")
    .replace(/&nbsp;/g, " ")
    .replace(/&lt;/g, "<")
    .replace(/&gt;/g, ">")
    .replace(/&amp;/g, "&")
    .replace(/\s+/g, " ");
}
