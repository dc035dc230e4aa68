// The dialogs of the page by name. Small ones are here; each is a form over one command of the store and holds only what is
// typed into it.

import { useSignal } from "@preact/signals";
import { useId, useRef } from "preact/hooks";
import type { Store } from "../store/store";
import { Dialog } from "./dialog";
import { InfoDialog } from "./info-dialog";
import { KEYS } from "./keyboard";
import { currentGraph } from "./pointing";
import { plural, sentence } from "./text";
import { UploadDialog } from "./upload-dialog";

export type DialogName = "share" | "import" | "info" | "upload" | "rename" | "delete" | "help" | "conflict";

export interface DialogProps {
  readonly store: Store;
  readonly onClose: () => void;
}

export function Dialogs({ name, ...props }: DialogProps & { readonly name: DialogName | null }) {
  switch (name) {
    case null:
      return null;
    case "share":
      return <ShareDialog {...props} />;
    case "import":
      return <ImportDialog {...props} />;
    case "info":
      return <InfoDialog {...props} />;
    case "upload":
      return <UploadDialog {...props} />;
    case "rename":
      return <RenameDialog {...props} />;
    case "delete":
      return <DeleteDialog {...props} />;
    case "help":
      return <HelpDialog {...props} />;
    case "conflict":
      return <ConflictDialog {...props} />;
  }
}

export function messageOf(error: unknown): string {
  return sentence(error instanceof Error ? error.message : String(error));
}

/** Servers and proxies commonly refuse a request line longer than this. */
const LONG_LINK = 8000;

function ShareDialog({ store, onClose }: DialogProps) {
  return (
    <Dialog title="Share this view" onClose={onClose}>
      <p class="muted">A link holds the pins, groups, labels, selection and threshold; the graph itself stays where it is.</p>
      <LinkProblems problems={store.linkProblems()} />
      <LinkField name="Link of circuit-tracer’s page" link={store.link("circuit-tracer")} />
      <LinkField name="Link of Neuronpedia’s page" link={store.link("neuronpedia")} />
    </Dialog>
  );
}

function LinkProblems({ problems }: { problems: readonly string[] }) {
  if (problems.length === 0) return null;
  return (
    <div class="notice notice-warning" data-testid="link-problems">
      <p>The pages read all of these links, but other programs do not:</p>
      <ul>
        {problems.map((problem) => (
          <li key={problem}>{problem}</li>
        ))}
      </ul>
    </div>
  );
}

function LinkField({ name, link }: { name: string; link: string }) {
  const id = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  const copied = useSignal(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(link);
      copied.value = true;
    } catch {
      // Not allowed outside a secure context: leave the text selected for Ctrl+C.
      field.current?.focus();
      field.current?.select();
    }
  };
  return (
    <div class="field">
      <label for={id}>{name}</label>
      <div class="field-line">
        <textarea ref={field} id={id} readOnly rows={3} value={link} onFocus={(event) => event.currentTarget.select()} />
        <button type="button" class="button" aria-label={`Copy: ${name}`} onClick={() => void copy()}>
          {copied.value ? "Copied" : "Copy"}
        </button>
      </div>
      {link.length > LONG_LINK && (
        <p class="notice notice-warning">
          {plural(link.length, "character")}: some servers refuse links this long. Saving the view and sharing the graph’s name
          is safer.
        </p>
      )}
      <span class="unseen" role="status">
        {copied.value ? `${name} copied` : ""}
      </span>
    </div>
  );
}

function ImportDialog({ store, onClose }: DialogProps) {
  const id = useId();
  const text = useSignal("");
  const problems = useSignal<readonly string[] | null>(null);
  const submit = (event: Event) => {
    event.preventDefault();
    const found = store.importLink(text.value.trim());
    if (found.length === 0) onClose();
    else problems.value = found;
  };
  return (
    <Dialog title="Open a link" onClose={onClose}>
      <form onSubmit={submit}>
        <div class="field">
          <label for={id}>A link of circuit-tracer’s page or of Neuronpedia’s</label>
          <textarea
            id={id}
            rows={5}
            required
            spellcheck={false}
            value={text.value}
            onInput={(event) => {
              text.value = event.currentTarget.value;
              problems.value = null;
            }}
          />
        </div>
        {problems.value !== null && (
          <div class="notice notice-warning" role="alert">
            <p>Parts of the link could not be used:</p>
            <ul>
              {problems.value.map((problem) => (
                <li key={problem}>{problem}</li>
              ))}
            </ul>
          </div>
        )}
        <div class="dialog-actions">
          <button type="button" class="button" onClick={onClose}>
            {problems.value === null ? "Cancel" : "Close"}
          </button>
          <button type="submit" class="button primary" disabled={text.value.trim() === ""}>
            Open
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** What the server takes as the name of a graph. */
export const SLUG = /^(?!\.)[A-Za-z0-9_.-]{1,128}$/;

function RenameDialog({ store, onClose }: DialogProps) {
  const id = useId();
  const slug = currentGraph(store)?.slug ?? "";
  const text = useSignal(slug);
  const error = useSignal("");
  const busy = useSignal(false);
  const valid = SLUG.test(text.value);
  const submit = async (event: Event) => {
    event.preventDefault();
    busy.value = true;
    try {
      await store.rename(text.value);
      onClose();
    } catch (reason) {
      error.value = messageOf(reason);
    }
    busy.value = false;
  };
  return (
    <Dialog title="Rename this graph" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <div class="field">
          <label for={id}>New name</label>
          <input
            id={id}
            type="text"
            value={text.value}
            autoComplete="off"
            spellcheck={false}
            aria-describedby={`${id}-help`}
            aria-invalid={!valid}
            onInput={(event) => {
              text.value = event.currentTarget.value;
              error.value = "";
            }}
          />
          <p id={`${id}-help`} class={valid ? "muted" : "text-error"}>
            Letters, digits, “.”, “_” and “-”, up to 128, not beginning with a dot.
          </p>
        </div>
        {error.value !== "" && (
          <p class="notice notice-error" role="alert">
            {error.value}
          </p>
        )}
        <div class="dialog-actions">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={!valid || busy.value || text.value === slug}>
            Rename
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function DeleteDialog({ store, onClose }: DialogProps) {
  const slug = currentGraph(store)?.slug ?? "";
  const error = useSignal("");
  const busy = useSignal(false);
  const remove = async () => {
    busy.value = true;
    try {
      await store.remove();
      onClose();
    } catch (reason) {
      error.value = messageOf(reason);
    }
    busy.value = false;
  };
  return (
    <Dialog title="Delete this graph?" onClose={onClose}>
      <p>
        The file of <b>{slug}</b> is removed from the folder, with the view saved in it. This cannot be undone.
      </p>
      {error.value !== "" && (
        <p class="notice notice-error" role="alert">
          {error.value}
        </p>
      )}
      <div class="dialog-actions">
        <button type="button" class="button" onClick={onClose}>
          Cancel
        </button>
        <button type="button" class="button danger" disabled={busy.value} onClick={() => void remove()}>
          Delete
        </button>
      </div>
    </Dialog>
  );
}

/** The language of the search field, `core/search.ts`, in examples. */
const SEARCHES = [
  { text: "capital", what: "in a label, token, type or id; several words must all fit" },
  { text: '"say a"', what: "words with blanks" },
  { text: "label:texas  token:the", what: "in the label alone, in the token at the node’s position" },
  { text: "layer:12  layer:3-7  layer:logit", what: "rows of the link graph; also layer:>20 and layer:emb" },
  { text: "pos:2-5", what: "token positions" },
  { text: "type:error", what: "feature, error, token, logit, attention, bias, unknown" },
  { text: "act:>3.5  influence:<0.5  prob:>0.1", what: "activation, cumulative influence, probability" },
  { text: "is:pinned", what: "pinned, hidden, grouped" },
  { text: "-type:error", what: "none of these" },
] as const;

function HelpDialog({ onClose }: DialogProps) {
  return (
    <Dialog title="Keys and pointer" wide onClose={onClose}>
      <table class="keys">
        <thead>
          <tr>
            <th scope="col">Input</th>
            <th scope="col">Where</th>
            <th scope="col">Effect</th>
          </tr>
        </thead>
        <tbody>
          {KEYS.map(({ keys, where, what }) => (
            <tr key={keys}>
              <td>
                <kbd>{keys}</kbd>
              </td>
              <td>{where}</td>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <section>
        <h3>Search</h3>
        <dl class="facts">
          {SEARCHES.map(({ text, what }) => (
            <div key={text}>
              <dt>
                <code>{text}</code>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </section>
      <p class="muted">Letters do nothing while text is being typed. What keys do, buttons do too.</p>
    </Dialog>
  );
}

/** The file was changed elsewhere since it was opened here: which of the two is to stay. */
function ConflictDialog({ store, onClose }: DialogProps) {
  const slug = currentGraph(store)?.slug ?? "";
  return (
    <Dialog title="The file has changed" onClose={onClose}>
      <p>
        <b>{slug}</b> was saved or made anew since it was opened here, so your view was not saved.
      </p>
      <ul class="choices">
        <li>
          <button
            type="button"
            class="button"
            onClick={() => {
              onClose();
              void store.open(slug);
            }}
          >
            Reload
          </button>
          <span>Take the file as it is now and drop the changes made here.</span>
        </li>
        <li>
          <button
            type="button"
            class="button"
            onClick={() => {
              onClose();
              void store.save({ overwrite: true });
            }}
          >
            Overwrite
          </button>
          <span>Put the view made here into the file as it is now.</span>
        </li>
        <li>
          <button type="button" class="button primary" onClick={onClose}>
            Keep editing
          </button>
          <span>Decide later; nothing is saved until then.</span>
        </li>
      </ul>
    </Dialog>
  );
}
