export * from '../../format.js';
