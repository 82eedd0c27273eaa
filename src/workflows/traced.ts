/** Whether a type of workflow is traced. A watch never ends, so its trace would not either. */
export const isTraced = (workflowType: string): boolean => workflowType !== 'watch';
