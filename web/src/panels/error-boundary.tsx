// Keeps the rest of the page alive when one panel fails to draw, and says what failed. Errors of loading are not its business:
// they are states of the store.

import type { ComponentChildren } from "preact";
import { Component } from "preact";

interface Props {
  readonly name: string;
  readonly children: ComponentChildren;
}

export class ErrorBoundary extends Component<Props, { message: string | null }> {
  override state: { message: string | null } = { message: null };

  override componentDidCatch(error: unknown) {
    this.setState({ message: error instanceof Error ? error.message : String(error) });
  }

  override render() {
    const { message } = this.state;
    if (message === null) return this.props.children;
    return (
      <div class="notice notice-error panel-failed" role="alert">
        <p>
          {this.props.name} could not be drawn: {message}
        </p>
        <button type="button" class="button" onClick={() => this.setState({ message: null })}>
          Try again
        </button>
      </div>
    );
  }
}
