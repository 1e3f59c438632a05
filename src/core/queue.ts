/** What stands in a {@link Queue}: it links through its entries, so that waiting allocates nothing more. */
export interface Link<T> {
  previous: T | null;
  following: T | null;
}

/** A queue that anything in it can leave in O(1). A Set would do, but finds its first entry past all it has lost. */
export class Queue<T extends Link<T>> {
  first: T | null = null;
  last: T | null = null;

  append(item: T): void {
    item.previous = this.last;
    item.following = null;
    if (this.last === null) this.first = item;
    else this.last.following = item;
    this.last = item;
  }

  remove(item: T): void {
    if (item.previous === null) this.first = item.following;
    else item.previous.following = item.following;
    if (item.following === null) this.last = item.previous;
    else item.following.previous = item.previous;
  }
}
